"""The plan of the export: a bucket, a job on a schedule, and no more rights than that."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.terraform import needs_terraform, tfcheck, variables_of

pytestmark = needs_terraform

READERS = '["user:me@example.com", "group:desk@example.com"]'
EXPORT = {"export_candles": "true", "candle_readers": READERS}


def planned_values(built, tmp_path, **variables):
    out = tmp_path / "plan.json"
    given = variables_of("prod") | variables
    done = tfcheck(built, "--plan-json", str(out), "--resolve", **given)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text(encoding="utf-8"))["planned_values"]


def planned(built, tmp_path, **variables):
    values = planned_values(built, tmp_path, **variables)
    return [
        resource
        for resource in values["root_module"]["resources"]
        if resource["mode"] == "managed"
    ]


def of(resources, kind):
    return {
        resource.get("index", resource["name"]): resource["values"]
        for resource in resources
        if resource["type"] == kind
    }


def test_unless_it_is_asked_for_there_is_no_export(built, tmp_path):
    resources = planned(built, tmp_path)

    assert "export" not in of(resources, "google_cloud_run_v2_job")
    assert not [
        name for name in of(resources, "google_storage_bucket") if name == "export"
    ]


def test_the_job_runs_every_morning_after_the_sessions_are_settled(built, tmp_path):
    resources = planned(built, tmp_path, **EXPORT)
    job = of(resources, "google_cloud_run_v2_job")["export"]
    schedule = of(resources, "google_cloud_scheduler_job")["export"]

    (task,) = job["template"][0]["template"]
    (container,) = task["containers"]
    environ = {env["name"]: env["value"] for env in container["env"]}
    assert task["service_account"].startswith("exporter@")
    assert re.search(r"/functions/export:export-[0-9a-f]{12}$", container["image"])
    assert container["command"] == ["/cnb/process/export"]
    assert environ["EXPORT_TO"] == "gs://demo-proj-candles"
    assert environ["TRADESMART_SOURCE"].startswith("cloudsql://demo-proj:")
    assert environ["TRADESMART_SOURCE"].endswith(
        "/pipeline?user=exporter@demo-proj.iam"
    )
    (access,) = task["vpc_access"]
    assert access["egress"] == "ALL_TRAFFIC"
    assert "internal" in access["network_interfaces"][0]["subnetwork"]
    assert schedule["schedule"] == "30 8 * * *"
    assert schedule["time_zone"] == "Asia/Seoul"
    (target,) = schedule["http_target"]
    assert target["uri"].endswith("/jobs/export:run")
    assert target["oauth_token"][0]["service_account_email"].startswith(
        "export-schedule@"
    )


def test_each_may_do_what_it_must_and_no_more(built, tmp_path):
    everything = planned(built, tmp_path, **EXPORT)
    known = {resource["address"] for resource in planned(built, tmp_path)}
    grants = {
        (
            values["member"].removeprefix("serviceAccount:").partition("@")[0],
            values["role"].rpartition(".")[2],
            values.get("bucket")
            or values.get("name")
            or values["condition"][0]["title"],
        )
        for resource in everything
        if "_iam_" in resource["type"] and resource["address"] not in known
        for values in [resource["values"]]
    }

    assert grants == {
        ("exporter", "client", "only-this-instance"),
        ("exporter", "instanceUser", "only-this-instance"),
        ("exporter", "objectUser", "demo-proj-candles"),
        ("export-schedule", "invoker", "export"),
        ("user:me", "objectViewer", "demo-proj-candles"),
        ("group:desk", "objectViewer", "demo-proj-candles"),
    }
    bucket = of(everything, "google_storage_bucket")["export"]
    assert bucket["public_access_prevention"] == "enforced"
    assert bucket["uniform_bucket_level_access"]


def test_the_migration_lets_the_export_read(built, tmp_path):
    outputs = planned_values(built, tmp_path, **EXPORT)["outputs"]

    granted = outputs["database_grants"]["value"].split(",")
    assert "reader=exporter@demo-proj.iam" in granted


def test_bigquery_reads_the_files_of_the_manifest_with_codes_as_strings(
    built, tmp_path
):
    resources = planned(built, tmp_path, **EXPORT, export_to_bigquery="true")
    tables = [r["values"] for r in resources if r["type"] == "google_bigquery_table"]
    views = [table["view"][0]["query"] for table in tables if table["view"]]
    (minutes,) = (table for table in tables if table["table_id"] == "files_5m")

    (data,) = minutes["external_data_configuration"]
    (keys,) = data["hive_partitioning_options"]
    assert keys["mode"] == "CUSTOM"
    assert keys["source_uri_prefix"].endswith("/candles/timeframe=5m/{month:STRING}")
    assert len(views) == 5
    for view in views:
        assert "_FILE_NAME IN" in view
        assert "'Asia/Seoul'" in view


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"candle_readers": '["allUsers"]'}, "the whole internet is none"),
        ({"export_to_bigquery": "true"}, "set export_candles"),
    ],
)
def test_an_export_that_cannot_work_says_why(built, variables, sentence):
    done = tfcheck(built, "--plan", **variables_of("prod"), **variables)

    assert done.returncode != 0
    assert sentence in " ".join((done.stdout + done.stderr).replace("│", "").split())
