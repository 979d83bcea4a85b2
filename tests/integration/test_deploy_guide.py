"""docs/deploy.md from top to bottom: what can be run here is run, the rest is marked.

A † in the guide stands behind what was never run. Terraform is the real one, with a
stand-in for Google's provider and for the bucket of its state; ``gcloud`` is a stand-in
that writes down how it was called.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from infra import package, topology
from tests.support import gcloud, servers
from tests.support.pages import blocks_of, commands_of
from tests.support.terraform import TFCHECK, needs_terraform

pytestmark = needs_terraform

ROOT = servers.ROOT
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
COMMANDS = commands_of(PAGE)
# How a command begins that is run here.
RUNNABLE = re.compile(r"(export|unset|git checkout|make (plan|migrate-cloud)) ")
TERRAFORM = f"""#!/usr/bin/env bash
# The state has no bucket here.
for argument in "$@"; do
  case $argument in
    -backend-config=bucket=my-project-terraform | -backend-config=prefix=prod) ;;
    -backend-config=*) echo "another bucket: $argument" >&2 && exit 1 ;;
    *) given+=("$argument") ;;
  esac
done
exec {shutil.which("terraform")} "${{given[@]}}"
"""
GCLOUD = """#!/usr/bin/env bash
printf '%s ' "$@" >>calls
echo >>calls
[ "$2" != jobs ] || exit "${JOB_STATUS:-0}"
[ "$1" != logging ] || echo "the database is up to date"
"""


def test_what_is_not_marked_is_run_and_what_is_marked_is_not():
    for command in COMMANDS:
        is_run = RUNNABLE.match(command.text) is not None
        assert command.is_marked is not is_run, command.text


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="needs gcloud")
def test_gcloud_itself_knows_its_commands_by_the_same_flags():
    known = gcloud.table()
    told = gcloud.described(sorted(gcloud.in_documents() | gcloud.in_code()))

    for each in told:
        # A command that is only named has nothing that it needs.
        is_named_only = "Must be specified" in (each["error_message"] or "")
        assert each["success"] or is_named_only, each["error_message"]
    there = gcloud.table_of(told)["commands"]
    for name, entry in known["commands"].items():
        used = {
            word.partition("=")[0]
            for command in gcloud.in_documents() | gcloud.in_code()
            if command.startswith(f"gcloud {name}")
            for word in gcloud.words_of(command)
            if word.startswith("--")
        }
        assert used & set(entry["flags"]) <= set(there[name]["flags"]), name


def new_checkout(folder):
    """A clone with the zips, in which Terraform keeps its state beside it."""
    shutil.copytree(ROOT / "infra" / "terraform", folder / "infra" / "terraform")
    for name in (
        *("infra/pipeline.yaml", "infra/run_job.sh", "Makefile"),
        *("infra/local/setup.sh", "locks/local.txt"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    package.build(topology.load(), folder / "build")
    override = folder / "infra" / "terraform" / "backend_override.tf"
    override.write_text('terraform {\n  backend "local" {}\n}\n')
    commit = ["commit", "-q", "-m", "all", "--author", "me <me@example.com>"]
    who = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
    for command in (["init", "-q"], ["add", "infra/pipeline.yaml"], [*who, *commit]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    variables = folder / "infra" / "terraform" / "environments" / "prod.tfvars"
    added = [block.text for block in blocks_of(PAGE) if block.language == "hcl"]
    assert len(added) == 2
    variables.write_text("\n".join([variables.read_text(), *added, ""]))


class Reader:
    """Types the commands of the guide, in a shell that keeps its variables."""

    def __init__(self, folder):
        self.folder = folder
        self.typed = []
        self.plans = []
        programs = folder / "programs"
        programs.mkdir()
        for name, text in (("terraform", TERRAFORM), ("gcloud", GCLOUD)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        told = subprocess.run([TFCHECK, "--env"], capture_output=True, text=True)
        (setting,) = re.findall(r'TF_CLI_CONFIG_FILE="(.+)"', told.stdout)
        self.environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TF_CLI_CONFIG_FILE": setting,
            "LOG_SECONDS": "0",
        }

    def shell(self, command, **environ):
        return subprocess.run(
            ["bash", "-euc", command],
            cwd=self.folder,
            env=self.environ | environ,
            capture_output=True,
            text=True,
        )

    def type(self, command):
        self.typed.append(command)
        if command.startswith(("export ", "unset ")):
            self.keep(command)
        elif command.startswith("make plan "):
            self.plan(command)
        else:
            done = self.shell(command.replace("<the last good commit>", "HEAD"))
            assert done.returncode == 0, (command, done.stderr)

    def keep(self, command):
        done = self.shell(f"{command}; env -0")
        assert done.returncode == 0, (command, done.stderr)
        pairs = (line.partition("=") for line in done.stdout.split("\0") if line)
        self.environ = {name: value for name, _, value in pairs}

    def plan(self, command):
        """What ``make plan`` runs of Terraform; the zips are there already."""
        shown = self.shell(f"{command} --dry-run")
        lines = re.findall(r"^terraform .*$", shown.stdout, re.MULTILINE)
        assert len(lines) == 2, shown.stderr
        for line in lines:
            done = self.shell(line)
            assert done.returncode == 0, (line, done.stdout + done.stderr)
        read = "terraform -chdir=infra/terraform show -json ../../build/prod.tfplan"
        self.plans.append(json.loads(self.shell(read).stdout))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guide")
    new_checkout(folder)
    reader = Reader(folder)
    for command in COMMANDS:
        if not command.is_marked:
            reader.type(command.text)
    return reader


def values_of(plan, kind):
    return [
        resource["values"]
        for resource in plan["planned_values"]["root_module"]["resources"]
        if resource["type"] == kind
    ]


def test_nothing_is_scheduled_before_there_is_something_to_run(reader):
    first, second, *_ = (
        values_of(plan, "google_cloud_scheduler_job") for plan in reader.plans
    )

    running = {job["name"] for job in first if not job["paused"]}
    assert running == {"refresh-token"}
    assert not any(job["paused"] for job in second)


def test_the_variables_of_the_guide_are_in_the_plan(reader):
    plan = reader.plans[0]

    people = [user["name"] for user in values_of(plan, "google_sql_user")]
    assert "me@example.com" in people
    jobs = [job["name"] for job in values_of(plan, "google_cloud_run_v2_job")]
    assert sorted(jobs) == ["export", "migrate"]


def test_every_output_of_the_guide_exists(reader):
    asked = re.findall(r"infra/terraform output (\w+)", PAGE)

    assert asked
    assert set(asked) <= reader.plans[0]["planned_values"]["outputs"].keys()


def test_the_migration_is_run_and_its_log_shown(reader):
    (reader.folder / "calls").unlink()

    done = reader.shell("make migrate-cloud PROJECT=$PROJECT REGION=$REGION")

    assert done.returncode == 0, done.stderr
    assert "the database is up to date" in done.stdout
    run, log = (reader.folder / "calls").read_text().splitlines()
    assert run.split() == [
        *("run", "jobs", "execute", "migrate"),
        *("--project=my-project", "--region=asia-northeast3", "--wait"),
    ]
    assert "resource.labels.job_name=migrate AND timestamp>=" in log


def test_a_migration_that_fails_shows_its_log_too_and_fails(reader):
    done = reader.shell("infra/run_job.sh my-project asia-northeast3", JOB_STATUS="1")

    assert done.returncode == 1
    assert "the database is up to date" in done.stdout


def test_every_name_of_a_resource_in_the_guide_is_in_the_plan(reader):
    plan = reader.plans[0]
    named = {
        "google_secret_manager_secret": r"secrets versions add ([\w-]+)",
        "google_pubsub_topic": r"pubsub topics publish ([\w-]+)",
        "google_sql_database_instance": r"sql instances patch ([\w-]+)",
        "google_compute_network": r"--network=([\w-]+)",
        "google_cloudfunctions2_function": r"run services proxy ([\w-]+)",
        "google_cloud_run_v2_job": r"run jobs execute ([\w-]+)",
    }
    for kind, pattern in named.items():
        key = "secret_id" if "secret" in kind else "name"
        there = {values[key] for values in values_of(plan, kind)}
        found = set(re.findall(pattern, PAGE))
        assert found, kind
        assert found <= there, kind
