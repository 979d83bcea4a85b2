"""The plan of the whole stack, made by the real terraform without the cloud."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from itertools import islice, pairwise

import pytest
from cronsim import CronSim

from infra import topology
from infra.database_rights import role_of
from infra.migrate import Grants
from tests.support import servers
from tests.support.terraform import (
    TERRAFORM,
    TFCHECK,
    needs_terraform,
    tfcheck,
    variables_of,
)

ROOT = servers.ROOT
TOPOLOGY = topology.load()

pytestmark = needs_terraform


@pytest.fixture(scope="module", params=["dev", "prod"])
def plan(request, built, tmp_path_factory):
    out = tmp_path_factory.mktemp("plan") / "plan.json"
    done = tfcheck(
        built, "--plan-json", str(out), "--resolve", **variables_of(request.param)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


def copied(built, directory):
    """A stack of one's own, to spoil it."""
    shutil.copytree(built.parents[1], directory / "stack")
    return directory / "stack" / "infra" / "terraform"


def test_without_the_zips_it_says_how_to_build_them(built, tmp_path):
    bare = copied(built, tmp_path)
    shutil.rmtree(bare.parents[1] / "build")

    done = tfcheck(bare, "--plan", **variables_of("dev"))

    assert done.returncode != 0
    assert "run make package" in said(done)


def said(done):
    """What terraform has printed, without its frame."""
    return " ".join((done.stdout + done.stderr).replace("│", "").split())


@pytest.fixture
def resources(plan):
    """The values of all resources of a type, by their key."""

    def of(kind):
        return {
            resource.get("index", resource["name"]): resource["values"]
            for resource in plan["planned_values"]["root_module"]["resources"]
            if resource["type"] == kind and resource["mode"] == "managed"
        }

    return of


def test_it_also_plans_where_nothing_is_known_yet(built):
    """As at the first time: addresses and identities are known after apply only."""
    done = tfcheck(built, "--plan", **variables_of("prod"))

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_attribute_fails(built, tmp_path):
    broken = copied(built, tmp_path)
    topics = broken / "topics.tf"
    text = topics.read_text().replace("message_retention_duration", "retention_time")
    topics.write_text(text)

    assert tfcheck(broken, **variables_of("dev")).returncode != 0


def test_everything_in_pipeline_yaml_is_in_the_plan_and_nothing_else(resources):
    assert resources("google_pubsub_topic").keys() == TOPOLOGY.topics.keys()
    assert resources("google_cloudfunctions2_function").keys() == (
        TOPOLOGY.functions.keys()
    )
    assert resources("google_pubsub_subscription").keys() == {
        *TOPOLOGY.subscriptions,
        *TOPOLOGY.dead_letter_subscriptions,
    }
    assert resources("google_cloud_scheduler_job").keys() == TOPOLOGY.schedules.keys()
    assert resources("google_secret_manager_secret").keys() == TOPOLOGY.secrets.keys()


def test_functions_are_what_pipeline_yaml_says(resources):
    for name, found in resources("google_cloudfunctions2_function").items():
        wanted = TOPOLOGY.functions[name]
        (build,), (service,) = found["build_config"], found["service_config"]
        assert (build["runtime"], build["entry_point"]) == (
            f"python{TOPOLOGY.python.replace('.', '')}",
            wanted.entry_point,
        )
        assert service["available_memory"] == wanted.memory
        assert service["timeout_seconds"] == wanted.timeout_seconds
        assert service["max_instance_request_concurrency"] == wanted.concurrency
        assert service["min_instance_count"] == wanted.min_instances
        assert service["max_instance_count"] == wanted.max_instances
        assert service["direct_vpc_egress"] == "VPC_EGRESS_ALL_TRAFFIC"
        is_open = wanted.trigger == "http"
        ingress = "ALLOW_ALL" if is_open else "ALLOW_INTERNAL_ONLY"
        assert service["ingress_settings"] == ingress
        (interface,) = service["direct_vpc_network_interface"]
        subnetwork = "broker" if wanted.calls_broker else "internal"
        assert interface["subnetwork"] == subnetwork
        environment = service["environment_variables"]
        assert (
            environment.items()
            >= {
                **TOPOLOGY.environment,
                **wanted.environment,
                "THREADS": str(wanted.concurrency),
            }.items()
        )
        assert ("SCHEDULES" in environment) == wanted.reads_schedules
        assert ("CLOUD_SQL_INSTANCE" in environment) == (wanted.database != "none")
        if wanted.database_pool:
            assert environment["DATABASE_POOL"] == str(wanted.database_pool)


def test_sources_are_named_by_their_content(resources):
    objects = resources("google_storage_bucket_object")

    sources = {each.source for each in TOPOLOGY.functions.values()}
    assert objects.keys() == sources | {"migrate"}
    for name, found in objects.items():
        assert re.fullmatch(rf"{name}-[0-9a-f]{{12}}\.zip", found["name"])
        assert found["source"].endswith(found["name"])


def test_pushes_are_signed_retried_and_never_lost(resources):
    found = resources("google_pubsub_subscription")
    topics = resources("google_pubsub_topic")
    functions = resources("google_cloudfunctions2_function")
    pushers = resources("google_service_account")
    assert pushers
    for name, wanted in TOPOLOGY.subscriptions.items():
        subscription = found[name]
        (push,) = subscription["push_config"]
        (token,) = push["oidc_token"]
        uri = functions[wanted.function]["service_config"][0]["uri"]
        assert token["audience"] == uri
        account = f"push-{wanted.function.replace('_', '-')}@"
        assert token["service_account_email"].startswith(account)
        path = f"/projects/demo-proj/topics/{wanted.topic}"
        assert push["push_endpoint"] == uri + path
        (policy,) = subscription["dead_letter_policy"]
        assert policy["dead_letter_topic"] == topics[wanted.dead_letter_topic]["id"]
        assert policy["max_delivery_attempts"] == wanted.max_delivery_attempts
        (retry,) = subscription["retry_policy"]
        assert retry["minimum_backoff"] == f"{wanted.minimum_backoff_seconds}s"
        assert subscription["ack_deadline_seconds"] == wanted.ack_deadline_seconds
    for subscription in found.values():
        assert subscription["expiration_policy"] == [{"ttl": ""}]
        seconds = int(subscription["message_retention_duration"].removesuffix("s"))
        assert seconds >= 7 * 86_400


def test_schedules_fire_in_seoul_with_their_payloads(resources):
    for name, job in resources("google_cloud_scheduler_job").items():
        wanted = TOPOLOGY.schedules[name]
        assert (job["schedule"], job["time_zone"]) == (wanted.cron, "Asia/Seoul")
        (target,) = job["pubsub_target"]
        assert json.loads(base64.b64decode(target["data"])) == wanted.payload


def test_no_secret_has_a_value(plan, resources):
    assert resources("google_secret_manager_secret_version") == {}
    assert "secret_data" not in json.dumps(plan["planned_values"])


def test_the_database_is_private_and_kept(resources):
    (instance,) = resources("google_sql_database_instance").values()
    (settings,) = instance["settings"]
    (network,) = settings["ip_configuration"]
    (backup,) = settings["backup_configuration"]
    flags = {flag["name"]: flag["value"] for flag in settings["database_flags"]}

    assert not network["ipv4_enabled"]
    assert network["private_network"]
    assert backup["enabled"]
    assert backup["point_in_time_recovery_enabled"]
    assert flags["cloudsql.iam_authentication"] == "on"
    for user in resources("google_sql_user").values():
        assert user["type"] == "CLOUD_IAM_SERVICE_ACCOUNT"
        assert user["password"] is None


def test_all_requests_leave_through_one_reserved_address(resources, plan):
    (nat,) = resources("google_compute_router_nat").values()

    assert nat["nat_ip_allocate_option"] == "MANUAL_ONLY"
    assert len(nat["nat_ips"]) == 1
    # What does not call the broker has no way to the internet.
    (behind,) = nat["subnetwork"]
    assert behind["name"].endswith("/subnetworks/broker")
    assert resources("google_compute_subnetwork").keys() == {"broker", "internal"}
    for subnetwork in resources("google_compute_subnetwork").values():
        assert subnetwork["private_ip_google_access"]
    assert "egress_address" in plan["planned_values"]["outputs"]


def test_every_alert_has_a_chapter_in_the_runbook(resources):
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        for title in re.findall(r"^## (.+)$", runbook, re.MULTILINE)
    }
    alerts = resources("google_monitoring_alert_policy")

    assert len(alerts) >= 7
    for alert in alerts.values():
        (documentation,) = alert["documentation"]
        assert documentation["content"].partition("#")[2] in anchors
        assert alert["notification_channels"]


COUNTED = "logging.googleapis.com/user/"


def test_every_chart_shows_a_metric_of_ours_or_of_google(resources):
    ours = {
        COUNTED + metric["name"]
        for metric in resources("google_logging_metric").values()
    }
    (dashboard,) = resources("google_monitoring_dashboard").values()
    shown = set(re.findall(r'metric.type = \\"(.+?)\\"', dashboard["dashboard_json"]))

    assert {name for name in shown if name.startswith(COUNTED)} <= ours
    assert len(shown) == 8


RUN = 'resource.type = "cloud_run_revision"'


def of_log(metric):
    return f'metric.type = "logging.googleapis.com/user/pipeline/{metric}" AND {RUN}'


def of_pubsub(metric, subscriptions):
    return (
        f'metric.type = "pubsub.googleapis.com/subscription/{metric}" AND resource.type'
        ' = "pubsub_subscription" AND resource.labels.subscription_id = '
        f'monitoring.regex.full_match("{"|".join(subscriptions)}")'
    )


# What each alert listens to. Anything that is not here fails.
CONDITIONS_OF_ALERTS = {
    "late": of_log("late"),
    "missing": of_log("missing"),
    "stale-series": of_log("stale-series"),
    "token-contested": of_log("token-contested"),
    "calendar-horizon": of_log("horizon-near"),
    "dead-letters": of_pubsub(
        "num_undelivered_messages", TOPOLOGY.dead_letter_subscriptions
    ),
    "oldest-message": of_pubsub(
        "oldest_unacked_message_age", sorted(TOPOLOGY.subscriptions)
    ),
    "error-rate": (
        f'metric.type = "run.googleapis.com/request_count" AND {RUN}'
        ' AND metric.labels.response_code_class = "5xx"'
    ),
    "database-connections": (
        'metric.type = "cloudsql.googleapis.com/database/postgresql/num_backends"'
        ' AND resource.type = "cloudsql_database"'
    ),
    "token-age": of_log("token-checked"),
    "ticks-silent": of_log("heartbeat"),
    "no-report": of_log("reported"),
}
COUNTED_LINES = {
    "collected": "collected",
    "late": "late_series",
    "stale-series": "stale_series",
    "heartbeat": "heartbeat",
    "reported": "(daily_report|report_kept)",
    "missing": "daily_report",
    "token-checked": "(token_refreshed|token_kept)",
    "token-contested": "token_contested",
    "horizon-near": "calendar_horizon_near",
    "unforeseen": "unforeseen",
}


def condition_of(alert):
    (condition,) = alert["conditions"]
    threshold, absent = condition["condition_threshold"], condition["condition_absent"]
    ((found,),) = [each for each in (threshold, absent) if each]
    return found


def test_every_alert_listens_to_what_it_is_for(resources):
    alerts = resources("google_monitoring_alert_policy")

    assert {key: condition_of(alert)["filter"] for key, alert in alerts.items()} == (
        CONDITIONS_OF_ALERTS
    )


def test_a_metric_counts_the_lines_of_its_events(resources):
    metrics = resources("google_logging_metric")
    only = {"missing": " AND jsonPayload.missing > 0"}

    assert {key: metric["filter"] for key, metric in metrics.items()} == {
        key: f'{RUN} AND jsonPayload.event =~ "^{event}$"{only.get(key, "")}'
        for key, event in COUNTED_LINES.items()
    }


def test_one_late_series_and_one_missing_candle_are_an_alarm(resources):
    alerts = resources("google_monitoring_alert_policy")

    for key in ("late", "missing"):
        condition = condition_of(alerts[key])
        assert condition["comparison"] == "COMPARISON_GT"
        assert (condition["threshold_value"], condition["duration"]) == (0, "0s")


def test_silence_is_an_alert_that_can_fire(resources):
    """An absence is looked for at most 23.5 hours long; so often must be spoken."""
    alerts = resources("google_monitoring_alert_policy")
    jobs = resources("google_cloud_scheduler_job")
    spoken = {
        "token-age": ["refresh-token"],
        "ticks-silent": ["heartbeat"],
        "no-report": ["daily-report", "confirm-report"],
    }
    waits = {
        key: int(condition_of(alerts[key])["duration"].rstrip("s")) for key in spoken
    }

    assert waits == {"token-age": 46800, "ticks-silent": 10800, "no-report": 50400}
    for key, names in spoken.items():
        assert waits[key] <= 23.5 * 3600
        assert longest_silence([jobs[name]["schedule"] for name in names]) < waits[key]


def longest_silence(crons):
    since = datetime(2026, 11, 20, tzinfo=UTC)
    firings = sorted(at for cron in crons for at in islice(CronSim(cron, since), 50))
    return max((b - a).total_seconds() for a, b in pairwise(firings[:50]))


def test_a_report_is_sent_by_email_to_whoever_wants_it(built, tmp_path):
    out = tmp_path / "plan.json"
    wanted = {"report_by_email": "true"}

    done = tfcheck(
        built,
        *("--plan-json", str(out), "--resolve"),
        **variables_of("prod") | wanted,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    planned = json.loads(out.read_text())["planned_values"]["root_module"]["resources"]
    (policy,) = [
        each["values"]
        for each in planned
        if each["address"].startswith("google_monitoring_alert_policy.report")
    ]
    (condition,) = policy["conditions"]
    (matched,) = condition["condition_matched_log"]
    assert matched["filter"] == f'{RUN} AND jsonPayload.event = "daily_report"'
    assert matched["label_extractors"]["summary"] == "EXTRACT(jsonPayload.summary)"
    (documentation,) = policy["documentation"]
    assert documentation["subject"] == "[prod] ${log.extracted_label.summary}"
    # The next day's must open another incident.
    (strategy,) = policy["alert_strategy"]
    assert int(strategy["auto_close"].rstrip("s")) < 24 * 3600
    assert strategy["notification_rate_limit"] == [{"period": "300s"}]
    assert policy["notification_channels"]


STATUS_PAGE = """
  status_page:
    trigger: http
    entry_point: show_status
    memory: 256Mi
    timeout_seconds: 30
    concurrency: 8
    min_instances: 0
    max_instances: 1
    database: read
    database_pool: 2
    calls_broker: false
    publishes: []
    reads_secrets: []
    adds_to_secrets: []
    environment: {}

subscriptions:
"""


def test_an_http_function_is_for_its_viewers_and_for_no_push(built, tmp_path):
    changed = copied(built, tmp_path)
    text = topology.PIPELINE.read_text(encoding="utf-8")
    if "status_page" not in TOPOLOGY.functions:
        text = text.replace("\nsubscriptions:\n", STATUS_PAGE)
        packages = changed.parents[1] / "build" / "packages.json"
        listed = json.loads(packages.read_text()) | {"status_page": "status_page.zip"}
        packages.write_text(json.dumps(listed))
        (packages.parent / "status_page.zip").touch()
    (changed.parent / "pipeline.yaml").write_text(text)
    out = tmp_path / "plan.json"

    done = tfcheck(
        changed,
        *("--plan-json", str(out), "--resolve"),
        **variables_of("prod"),
        status_viewers='["user:me@example.com", "group:desk@example.com"]',
    )

    assert done.returncode == 0, done.stdout + done.stderr
    planned = json.loads(out.read_text())["planned_values"]["root_module"]["resources"]
    of_page = {
        resource["address"]: resource["values"]
        for resource in planned
        if "status_page" in str(resource.get("index"))
    }
    (service,) = of_page['google_cloudfunctions2_function.this["status_page"]'][
        "service_config"
    ]
    assert service["ingress_settings"] == "ALLOW_ALL"
    assert not [address for address in of_page if "push" in address]
    viewers = {
        (values["role"], values["member"])
        for address, values in of_page.items()
        if address.startswith("google_cloud_run_service_iam_member")
    }
    assert viewers == {
        ("roles/run.invoker", "user:me@example.com"),
        ("roles/run.invoker", "group:desk@example.com"),
    }


def test_the_whole_internet_is_no_viewer(built):
    everyone = {"status_viewers": '["allUsers"]'}
    done = tfcheck(built, "--plan", **variables_of("prod") | everyone)

    assert done.returncode != 0
    assert "never the whole internet" in said(done)


# Who may do what, and on what. Anything that is not here fails.
SECRETS = ("kiwoom-app-key", "kiwoom-secret-key", "kiwoom-token")
CALLS = ("minutes", "days", "weeks")
LIVE, HISTORY = (
    [f"collect-{lane}-{call}" for call in CALLS] for lane in ("live", "history")
)
COLLECTORS = [topic.replace("collect-", "collector-") for topic in (*LIVE, *HISTORY)]
PUSHED = [
    *("dispatcher", *COLLECTORS, "reference-sync", "daily-report", "token-refresher")
]
ALLOWED = {
    *(("dispatcher", "publisher", topic) for topic in (*LIVE, *HISTORY)),
    ("dispatcher", "publisher", "dead-letters"),
    *((name, "publisher", topic) for name in COLLECTORS for topic in HISTORY),
    *((name, "publisher", "tokens") for name in COLLECTORS),
    *((name, "publisher", "dead-letters") for name in COLLECTORS),
    *((name, "secretAccessor", "kiwoom-token") for name in COLLECTORS),
    ("reference-sync", "publisher", "tokens"),
    ("reference-sync", "publisher", "dead-letters"),
    ("reference-sync", "secretAccessor", "kiwoom-token"),
    ("daily-report", "publisher", "dead-letters"),
    ("token-refresher", "publisher", "dead-letters"),
    *(("token-refresher", "secretAccessor", secret) for secret in SECRETS),
    ("token-refresher", "secretVersionManager", "kiwoom-token"),
    ("status-page", "viewer", "kiwoom-token"),
    *(
        (account, role, "this database")
        for account in (
            *("dispatcher", *COLLECTORS, "reference-sync"),
            *("daily-report", "status-page"),
            "migrator",
        )
        for role in ("client", "instanceUser")
    ),
    *((f"push-{name}", "invoker", name) for name in PUSHED),
    ("builder", "logWriter", "project"),
    ("builder", "objectViewer", "copies of sources"),
    ("builder", "objectViewer", "demo-proj-pipeline-sources"),
    ("builder", "writer", "functions"),
    ("agent pubsub", "publisher", "dead-letters"),
    *(("agent pubsub", "subscriber", name) for name in TOPOLOGY.subscriptions),
    *(
        ("agent pubsub", "serviceAccountTokenCreator", f"push-{name}")
        for name in PUSHED
    ),
    *(
        ("agent cloudscheduler", "publisher", topic)
        for topic in ("triggers", "reference", "reports", "tokens")
    ),
}
RESOURCE = {
    "google_pubsub_topic_iam_member": "topic",
    "google_pubsub_subscription_iam_member": "subscription",
    "google_secret_manager_secret_iam_member": "secret_id",
    "google_cloud_run_service_iam_member": "service",
    "google_service_account_iam_member": "service_account_id",
    "google_artifact_registry_repository_iam_member": "repository",
    "google_project_iam_member": "project",
    "google_storage_bucket_iam_member": "bucket",
}


def test_everybody_may_do_what_he_must_and_no_more(plan):
    grants = [
        resource
        for resource in plan["planned_values"]["root_module"]["resources"]
        if "_iam_" in resource["type"] and resource["mode"] == "managed"
    ]

    assert {grant["type"] for grant in grants} <= RESOURCE.keys()
    assert {who_what(grant) for grant in grants} == ALLOWED


CONDITIONS = {
    "only-this-instance": "this database",
    "only-copies-of-sources": "copies of sources",
}


def who_what(grant):
    values = grant["values"]
    member = values["member"].removeprefix("serviceAccount:")
    who = member.partition("@")[0]
    if agent := re.fullmatch(r"service-\d+@gcp-sa-(\w+)\..*", member):
        who = f"agent {agent[1]}"
    what = values[RESOURCE[grant["type"]]]
    if grant["type"] == "google_project_iam_member":
        condition = values["condition"]
        what = CONDITIONS[condition[0]["title"]] if condition else "project"
    what = re.sub(r".*/serviceAccounts/([^@]+)@.*", r"\1", what)
    what = what.rpartition("/")[2]
    return who, values["role"].rpartition(".")[2], what


PERSON = "alice@example.com"


def test_a_person_on_the_list_may_read_the_database_and_nothing_else(built, tmp_path):
    out = tmp_path / "plan.json"

    done = tfcheck(
        built,
        *("--plan-json", str(out), "--resolve"),
        **variables_of("prod"),
        database_readers=f'["{PERSON}"]',
    )

    assert done.returncode == 0, done.stdout + done.stderr
    planned = json.loads(out.read_text())["planned_values"]
    of_person = [
        resource
        for resource in planned["root_module"]["resources"]
        if PERSON in str(resource.get("index"))
    ]
    (user,) = [each for each in of_person if each["type"] == "google_sql_user"]
    assert (user["values"]["type"], user["values"]["name"]) == (
        "CLOUD_IAM_USER",
        PERSON,
    )
    assert user["values"]["database_roles"] is None
    grants = {who_what(each) for each in of_person if each is not user}
    assert grants == {
        (f"user:{PERSON.partition('@')[0]}", "client", "this database"),
        (f"user:{PERSON.partition('@')[0]}", "instanceUser", "this database"),
        (f"user:{PERSON.partition('@')[0]}", "studioUser", "project"),
    }
    assert f"reader={PERSON}" in planned["outputs"]["database_grants"]["value"].split(
        ","
    )


def test_each_function_is_granted_the_role_of_its_source(plan):
    written = plan["planned_values"]["outputs"]["database_grants"]["value"]

    accounts = Grants.parse(written).accounts

    assert {
        (role, account) for role, named in accounts.items() for account in named
    } == {
        (role_of(function), f"{function.name.replace('_', '-')}@demo-proj.iam")
        for function in TOPOLOGY.functions.values()
        if function.database != "none"
    }


def test_the_migration_is_a_job_inside_the_network(resources):
    (job,) = resources("google_cloud_run_v2_job").values()
    (task,) = job["template"][0]["template"]
    (container,) = task["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}

    assert task["service_account"].startswith("migrator@")
    assert task["max_retries"] == 0
    assert task["vpc_access"][0]["egress"] == "ALL_TRAFFIC"
    assert task["vpc_access"][0]["network_interfaces"][0]["subnetwork"] == "internal"
    assert container["command"] == ["/cnb/process/migrate"]
    assert re.search(r"/functions/migrate:migrate-[0-9a-f]{12}$", container["image"])
    assert variables.keys() == {
        *("CLOUD_SQL_INSTANCE", "DATABASE_GRANTS", "DATABASE_NAME", "DATABASE_USER"),
        "GOOGLE_CLOUD_PROJECT",
    }
    assert variables["CLOUD_SQL_INSTANCE"].startswith("demo-proj:asia-northeast3:")
    assert variables["DATABASE_NAME"] == "pipeline"
    assert variables["DATABASE_USER"] == "migrator@demo-proj.iam"
    assert "collector=" in variables["DATABASE_GRANTS"]


def test_images_are_built_with_the_python_and_the_account_of_the_functions():
    """By a builder that has it; the one that is called latest may not."""
    job = (TERRAFORM / "job.tf").read_text(encoding="utf-8")
    build = (TERRAFORM / "job.cloudbuild.yaml").read_text(encoding="utf-8")

    assert "_PYTHON=${local.pipeline.python}.x" in job
    assert "--service-account=${google_service_account.builder.id}" in job
    assert "GOOGLE_PYTHON_VERSION=$_PYTHON" in build
    assert "builder:google-24" in build


@pytest.fixture
def awaited(plan):
    """The resources that a resource names in its depends_on."""
    module = plan["configuration"]["root_module"]["resources"]
    return {each["address"]: set(each.get("depends_on", [])) for each in module}


def test_what_is_built_waits_for_the_rights_of_its_builder(awaited):
    assert (
        "time_sleep.builder_rights" in awaited["google_cloudfunctions2_function.this"]
    )
    assert "time_sleep.builder_rights" in awaited["terraform_data.job_image"]
    for job in ("migrate", "export"):
        assert "terraform_data.job_image" in awaited[f"google_cloud_run_v2_job.{job}"]
    rights = {address for address in awaited if "_member.builder" in address}
    assert len(rights) == 4
    assert awaited["time_sleep.builder_rights"] >= rights


def test_every_alert_waits_until_its_metric_is_known(awaited):
    alerts = [each for each in awaited if "google_monitoring_alert_policy" in each]

    assert alerts
    for alert in alerts:
        assert "time_sleep.log_metrics" in awaited[alert]


def test_every_wait_is_as_long_as_google_needs(resources):
    waits = resources("time_sleep")

    assert {name: wait["create_duration"] for name, wait in waits.items()} == {
        "apis": "120s",
        "builder_rights": "120s",
        "log_metrics": "600s",
    }


def test_a_provider_without_what_we_use_is_refused():
    text = (TERRAFORM / "versions.tf").read_text()

    assert 'version = ">= 7.21.0, < 8.0.0"' in text


def test_nothing_keeps_a_destroy_from_going_on_that_goes_with_something_else(
    resources,
):
    """A peering that Google holds, a database in use, an account on which rights depend."""
    (peering,) = resources("google_service_networking_connection").values()
    (database,) = resources("google_sql_database").values()
    users = resources("google_sql_user")

    assert peering["deletion_policy"] == "ABANDON"
    assert database["deletion_policy"] == "ABANDON"
    assert users.keys() >= {"migrator", "dispatcher"}
    for user in users.values():
        assert user["deletion_policy"] == "ABANDON"
    for job in resources("google_cloud_run_v2_job").values():
        assert job["deletion_protection"] is False
    assert resources("google_storage_bucket")["sources"]["force_destroy"]


def test_only_a_database_that_may_be_destroyed_is_unprotected(plan, resources):
    (instance,) = resources("google_sql_database_instance").values()
    is_protected = plan["variables"]["deletion_protection"]["value"] == "true"

    assert instance["deletion_protection"] is is_protected
    (settings,) = instance["settings"]
    assert settings["deletion_protection_enabled"] is is_protected


@pytest.fixture(scope="module")
def leading_to(built, tmp_path_factory):
    """What each resource waits for, at first or second hand, as terraform sorts them."""
    stack = copied(built, tmp_path_factory.mktemp("graph"))
    here = 'terraform {\n  backend "local" {}\n}\n'
    (stack / "backend_override.tf").write_text(here)
    (setting,) = re.findall(
        r'export TF_CLI_CONFIG_FILE="(.+)"',
        subprocess.run([TFCHECK, "--env"], capture_output=True, text=True).stdout,
    )
    environ = os.environ | {"TF_CLI_CONFIG_FILE": setting}
    terraform = ["terraform", f"-chdir={stack}"]
    subprocess.run(
        [*terraform, "init", "-input=false"],
        check=True,
        capture_output=True,
        env=environ,
    )
    drawn = subprocess.run(
        [*terraform, "graph"], check=True, capture_output=True, text=True, env=environ
    ).stdout
    direct = {name: set() for name in re.findall(r'^ +"(\S+)" \[', drawn, re.MULTILINE)}
    for name, needed in re.findall(r'"(\S+)" -> "(\S+)"', drawn):
        direct[name].add(needed)

    def reach(name):
        found, waiting = set(), [name]
        while waiting:
            new = direct[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    return {name: reach(name) for name in direct}


def test_everything_waits_until_the_apis_are_known_to_be_enabled(leading_to):
    ours = {name for name in leading_to if name.startswith("google_")}

    assert len(ours) > 40
    for name in ours - {"google_project_service.this"}:
        assert "time_sleep.apis" in leading_to[name], name
    assert "google_project_service.this" in leading_to["time_sleep.apis"]


def test_a_destroy_ends_the_functions_before_what_they_use(leading_to):
    """Terraform destroys in the opposite order."""
    function = leading_to["google_cloudfunctions2_function.this"]

    assert function >= {
        "google_sql_database.this",
        "google_sql_user.function",
        "google_compute_subnetwork.this",
        "google_compute_router_nat.this",
    }
    peering = "google_service_networking_connection.database"
    assert peering in leading_to["google_sql_database_instance.this"]


def test_only_the_migrator_is_an_administrator_of_the_database(resources):
    roles = {
        key: user["database_roles"]
        for key, user in resources("google_sql_user").items()
    }

    assert roles.pop("migrator") == ["cloudsqlsuperuser"]
    assert not any(roles.values())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"database_max_connections": 40},
            "may open 34 connections and 15 are reserved",
        ),
        ({"region": "europe-west1"}, "The broker is in Seoul"),
    ],
)
def test_a_plan_that_cannot_work_says_why(built, change, sentence):
    done = tfcheck(built, "--plan", **variables_of("prod") | change)

    assert done.returncode != 0
    assert sentence in said(done)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("timeout_seconds: 540", "timeout_seconds: 600", "must time out before"),
        ('MOST_ACTIVE: "32"', 'MOST_ACTIVE: "300"', "than the broker answers requests"),
        ("time_zone: Asia/Seoul", "time_zone: UTC", "must be Asia/Seoul"),
        (
            "database_pool: 1\n  collector_history_weeks",
            "database_pool: 97\n  collector_history_weeks",
            "must not exceed concurrency",
        ),
    ],
)
def test_a_pipeline_that_cannot_work_says_why(built, tmp_path, old, new, sentence):
    changed = copied(built, tmp_path)
    text = topology.PIPELINE.read_text(encoding="utf-8")
    assert old in text
    (changed.parent / "pipeline.yaml").write_text(text.replace(old, new))

    done = tfcheck(
        changed,
        "--plan",
        **variables_of("prod") | {"database_max_connections": 1000},
    )

    assert done.returncode != 0
    assert sentence in said(done)


CHECKOV = shutil.which("checkov", path=f"{ROOT / '.venv-checkov' / 'bin'}")


@pytest.mark.skipif(CHECKOV is None, reason="needs checkov: make checkov installs it")
def test_checkov_has_nothing_to_say(built):
    done = subprocess.run(
        [
            CHECKOV,
            "-d",
            built,
            "--framework",
            "terraform",
            "-o",
            "json",
            "--skip-download",
        ],
        capture_output=True,
        text=True,
    )

    summary = json.loads(done.stdout)["summary"]
    assert summary["failed"] == summary["parsing_errors"] == 0
    assert summary["passed"] > 40


def test_every_check_that_is_skipped_has_its_reason():
    skips = [
        line.partition("#checkov:skip=")[2]
        for path in TERRAFORM.glob("*.tf")
        for line in path.read_text().splitlines()
        if "checkov:skip" in line
    ]

    assert skips
    for skip in skips:
        assert re.fullmatch(r"CKV2?_\w+:.{20,}", skip)
