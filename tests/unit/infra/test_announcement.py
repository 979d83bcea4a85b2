from __future__ import annotations

import pytest

from infra.local import announcement
from infra.local.announcement import AlreadyRunning, Announcement, NotRunning

STACK = Announcement(
    pid=4711,
    project="local-dev",
    started_at="2026-11-25T10:30:00+00:00",
    clock_offset=0.0,
    broker="SIMULATED PRICES",
    simulated=True,
    requests_per_second=4.0,
    database_url="postgresql://pipeline@127.0.0.1:54320/simulated",
    pubsub_host="127.0.0.1:8085",
    broker_url="http://127.0.0.1:8099",
    logs="logs",
    ports={"collector": 8082},
)


def test_a_running_stack_is_found(tmp_path):
    with announcement.alone(tmp_path):
        announcement.announce(STACK, tmp_path)

        assert announcement.running(tmp_path) == STACK


def test_no_stack_is_said_with_the_remedy(tmp_path):
    with pytest.raises(
        NotRunning, match="no stack runs here; start one with: make dev"
    ):
        announcement.running(tmp_path)


def test_a_stack_that_was_killed_is_not_believed(tmp_path):
    announcement.announce(STACK, tmp_path)

    with pytest.raises(NotRunning, match="process 4711.* was killed; start one"):
        announcement.running(tmp_path)


def test_a_stack_that_is_starting_is_said(tmp_path):
    with (
        announcement.alone(tmp_path),
        pytest.raises(NotRunning, match="still starting"),
    ):
        announcement.running(tmp_path)


def test_half_a_file_is_no_stack(tmp_path):
    (tmp_path / "stack.json").write_text('{"pid": 1', encoding="utf-8")

    with pytest.raises(NotRunning, match="no stack runs here"):
        announcement.running(tmp_path)


def test_a_second_stack_is_told_how_to_stop_the_first(tmp_path):
    with announcement.alone(tmp_path):
        announcement.announce(STACK, tmp_path)

        with (
            pytest.raises(AlreadyRunning, match="make status.*or: kill 4711"),
            announcement.alone(tmp_path),
        ):
            pytest.fail("two stacks run")


def test_gcloud_is_told_where_the_stack_is(tmp_path):
    announcement.announce(STACK, tmp_path)

    told = (tmp_path / "gcloud.env").read_text(encoding="utf-8").splitlines()

    assert "export PUBSUB_EMULATOR_HOST=127.0.0.1:8085" in told
    assert f"export DATABASE_URL={STACK.database_url}" in told

    announcement.withdraw(tmp_path)
    assert list(tmp_path.iterdir()) == []
