from __future__ import annotations

import json
import re
from datetime import timedelta
from itertools import islice, pairwise
from pathlib import Path

import pytest
from cronsim import CronSim

from functions.collector.collect import BUDGET
from functions.collector.main import GATE_SECONDS, WAIT_POLICIES
from functions.reference_sync.reference_data import target_stocks
from infra.package import imported_by
from infra.topology import PIPELINE, RESERVED_CONNECTIONS, load
from shared.candles import Timeframe
from shared.daily_reports import ends_at
from shared.kiwoom.wire import ANSWER_SECONDS, CONNECT_SECONDS, READ_SECONDS
from shared.lanes import COLLECT_TOPICS, Lane, call_of, collect_topic
from shared.messages import (
    Heartbeat,
    ReferenceRequest,
    ReportRequest,
    TokenRequest,
    Trigger,
    is_heartbeat,
)
from shared.settings import PubSubSettings, SecretSettings
from tests.support.builders import day, kst

TOPOLOGY = load()
STORE_SECONDS = 30
ROOT = Path(__file__).parents[3]


COLLECTORS = [f for f in TOPOLOGY.functions.values() if f.source == "collector"]
LONGEST_WAIT = max(policy.max_wait for policy in WAIT_POLICIES.values())
LONGEST_REQUEST = max(CONNECT_SECONDS + READ_SECONDS, ANSWER_SECONDS)
# What Google allows for the id of a service account.
MOST_ID_CHARACTERS = 30


def test_every_function_has_its_folder_and_entry_point():
    for function in TOPOLOGY.functions.values():
        main = ROOT / "functions" / function.source / "main.py"
        assert f"def {function.entry_point}(" in main.read_text(encoding="utf-8")


def test_every_folder_of_functions_is_declared():
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/main.py")}

    assert folders == {function.source for function in TOPOLOGY.functions.values()}


def test_everything_points_to_something_that_exists():
    for subscription in TOPOLOGY.subscriptions.values():
        assert subscription.topic in TOPOLOGY.topics
        assert subscription.dead_letter_topic in TOPOLOGY.topics
        assert subscription.function in TOPOLOGY.functions
    for schedule in TOPOLOGY.schedules.values():
        assert schedule.topic in TOPOLOGY.topics
    for function in TOPOLOGY.functions.values():
        assert {*function.reads_secrets, *function.adds_to_secrets} <= set(
            TOPOLOGY.secrets
        )


# The topics of the lanes are known to the code. Follow-ups of a collector are rebuilds.
PUBLISHED_BY = {
    "dispatcher": set(COLLECT_TOPICS),
    "collector": {collect_topic(Lane.HISTORY, each) for each in Timeframe},
}


def test_a_function_may_publish_to_the_topics_that_it_is_told_and_to_no_other():
    for function in TOPOLOGY.functions.values():
        told = {
            value
            for name, value in function.environment.items()
            if name.endswith("_TOPIC")
        }
        told |= PUBLISHED_BY.get(function.source, set())
        assert told == set(function.publishes) <= set(TOPOLOGY.topics)


def test_only_the_refresher_may_read_the_keys():
    names = SecretSettings(project="p", emulator_host=None)
    for function in TOPOLOGY.functions.values():
        reads_keys = {names.app_key, names.secret_key} & set(function.reads_secrets)
        assert bool(reads_keys) == (function.name == "token_refresher")
    assert set(TOPOLOGY.secrets) == {names.app_key, names.secret_key, names.token}


def test_every_topic_is_listened_to():
    heard = {s.topic for s in TOPOLOGY.subscriptions.values()}
    heard |= {s.topic for s in TOPOLOGY.dead_letter_subscriptions.values()}

    assert heard == TOPOLOGY.topics.keys()


def test_a_function_ends_before_its_message_is_delivered_again():
    for subscription in TOPOLOGY.subscriptions.values():
        function = TOPOLOGY.functions[subscription.function]
        assert function.timeout_seconds < subscription.ack_deadline_seconds <= 600


def test_a_collector_gives_its_message_back_before_it_is_cut_off():
    """It waits to begin; after its last look at its watch it waits, asks and stores."""
    rest = LONGEST_WAIT + LONGEST_REQUEST + STORE_SECONDS

    for collector in COLLECTORS:
        assert GATE_SECONDS + BUDGET.total_seconds() + rest < collector.timeout_seconds


def test_every_lane_and_call_has_a_topic_a_queue_and_places_of_its_own():
    """Otherwise a task would wait behind another that needs none of what it needs."""
    of_topic = {one.topic: one.function for one in TOPOLOGY.subscriptions.values()}
    functions = [of_topic[topic] for topic in COLLECT_TOPICS]

    assert len(COLLECT_TOPICS) == 6
    assert sorted(functions) == sorted(function.name for function in COLLECTORS)


def test_every_target_of_a_tick_finds_a_live_place():
    targets = len(target_stocks())
    live = {topic for topic in COLLECT_TOPICS if Lane.LIVE in topic}

    for subscription in TOPOLOGY.subscriptions.values():
        if subscription.topic in live:
            function = TOPOLOGY.functions[subscription.function]
            active = int(function.environment["MOST_ACTIVE"])
            assert active * function.max_instances >= targets


def test_a_first_load_of_the_targets_finds_a_place_for_each_task():
    """A task that is turned away comes back when the others are done, or later."""
    for timeframe in Timeframe:
        tasks = len(target_stocks()) * sum(
            call_of(other) is call_of(timeframe) for other in Timeframe
        )
        topic = collect_topic(Lane.HISTORY, timeframe)
        (function,) = (
            TOPOLOGY.functions[subscription.function]
            for subscription in TOPOLOGY.subscriptions.values()
            if subscription.topic == topic
        )
        assert tasks <= function.concurrency * function.max_instances


def test_identities_have_names_that_google_accepts():
    for subscription in TOPOLOGY.subscriptions.values():
        assert len(f"push-{subscription.function}") <= MOST_ID_CHARACTERS


# What Cloud SQL gives db-g1-small, the smallest tier that an environment uses.
SMALLEST_TIER = 50


def test_all_pools_together_fit_the_smallest_database():
    """Also while a revision is replaced, when the instances of both are there."""
    limits = [
        int(limit)
        for path in (ROOT / "infra/terraform/environments").glob("*.tfvars")
        for limit in re.findall(r"database_max_connections = (\d+)", path.read_text())
    ]

    assert min(limits) == SMALLEST_TIER
    assert TOPOLOGY.most_connections + RESERVED_CONNECTIONS <= SMALLEST_TIER


def test_the_plan_reserves_as_many_connections():
    text = (ROOT / "infra/terraform/locals.tf").read_text(encoding="utf-8")

    assert f"reserved_connections = {RESERVED_CONNECTIONS}\n" in text


def test_no_pool_is_larger_than_the_work_that_uses_it():
    for function in TOPOLOGY.functions.values():
        assert 0 <= function.database_pool <= function.concurrency


def test_a_series_is_kept_for_as_long_as_one_request_takes():
    settings = PubSubSettings.from_env({"GOOGLE_CLOUD_PROJECT": "p"})

    assert settings.lease_seconds > LONGEST_WAIT + LONGEST_REQUEST


def test_every_other_message_that_is_scheduled_is_accepted():
    readers = {
        "tokens": TokenRequest,
        "reference": ReferenceRequest,
        "reports": ReportRequest,
    }
    scheduled = [s for s in TOPOLOGY.schedules.values() if s.topic in readers]

    assert {schedule.topic for schedule in scheduled} == readers.keys()
    for schedule in scheduled:
        readers[schedule.topic].from_bytes(json.dumps(schedule.payload).encode())


def test_pubsub_accepts_the_numbers():
    for subscription in TOPOLOGY.subscriptions.values():
        assert 5 <= subscription.max_delivery_attempts <= 100
        assert (
            0
            <= subscription.minimum_backoff_seconds
            <= subscription.maximum_backoff_seconds
            <= 600
        )


def test_every_trigger_that_is_scheduled_is_accepted():
    triggers = [
        schedule
        for schedule in TOPOLOGY.schedules.values()
        if schedule.topic == "triggers" and "heartbeat" not in schedule.payload
    ]
    asked = {
        timeframe
        for schedule in triggers
        for timeframe in Trigger.from_bytes(
            json.dumps(schedule.payload).encode()
        ).timeframes
    }

    assert asked == set(Timeframe)


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_every_timeframe_is_collected_after_its_day_has_settled(timeframe):
    settles, midnight = kst("2026-11-20 20:30"), kst("2026-11-21")
    firings = [
        next(CronSim(schedule.cron, settles))
        for schedule in TOPOLOGY.schedules.values()
        if schedule.payload.get("timeframe") == timeframe
    ]

    assert min(firings) < midnight


def test_no_schedule_has_an_empty_payload():
    # A message without data is refused by the framework, for ever.
    assert all(schedule.payload for schedule in TOPOLOGY.schedules.values())


def test_times_are_those_of_seoul():
    assert TOPOLOGY.time_zone == "Asia/Seoul"


def test_a_field_too_many_is_named(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "time_zone: Asia/Seoul\ntopics: {}\nsecrets: {}\nenvironment: {}\nsubscriptions: {}\n"
        "dead_letter_subscriptions: {}\nschedules: {}\n"
        "functions: {f: {entry_points: x}}\n",
        encoding="utf-8",
    )

    with pytest.raises(TypeError, match="entry_points"):
        load(path)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("trigger: pubsub", "trigger: pub", "trigger must be pubsub or http"),
        ("database: write", "database: rw", "database must be none or read or write"),
        ("database: none", "database: read", "database_pool must be at least 1"),
        ("database: write", "database: none", "must not be set with database: none"),
    ],
)
def test_a_function_that_is_neither_one_thing_nor_the_other_is_refused(
    tmp_path, old, new, sentence
):
    path = tmp_path / "pipeline.yaml"
    text = PIPELINE.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(ValueError, match=sentence):
        load(path)


def test_only_functions_with_a_pubsub_trigger_are_pushed_to():
    pushed = {subscription.function for subscription in TOPOLOGY.subscriptions.values()}

    for function in TOPOLOGY.functions.values():
        assert (function.name in pushed) == (function.trigger == "pubsub")


def test_only_what_asks_the_broker_leaves_by_the_registered_address():
    for function in TOPOLOGY.functions.values():
        main = ROOT / "functions" / function.source / "main.py"
        imported = {path.parent.name for path in imported_by(main)}
        assert function.calls_broker == ("kiwoom" in imported)


def test_only_what_opens_connections_has_a_database():
    for function in TOPOLOGY.functions.values():
        main = ROOT / "functions" / function.source / "main.py"
        imported = {path.parent.name for path in imported_by(main)}
        assert (function.database != "none") == ("database" in imported)


def test_a_report_is_made_on_every_day_after_its_last_tick():
    """Twice a day it is asked for: an absence is noticed after 23.5 hours at most."""
    asked = [s for s in TOPOLOGY.schedules.values() if s.topic == "reports"]
    since = kst("2026-11-20 21:00")
    firings = sorted(at for s in asked for at in islice(CronSim(s.cron, since), 40))
    ticks = [
        next(CronSim(s.cron, since - timedelta(seconds=1)))
        for s in TOPOLOGY.schedules.values()
        if s.topic == "triggers" and "heartbeat" not in s.payload
    ]

    assert (
        firings[0]
        == kst("2026-11-20 21:15")
        == ends_at(day("2026-11-20")) + timedelta(minutes=15)
    )
    assert {b - a for a, b in pairwise(firings[:40])} == {timedelta(hours=12)}
    assert min(ticks) > firings[0]


def test_only_what_judges_is_told_the_schedules():
    for function in TOPOLOGY.functions.values():
        main = ROOT / "functions" / function.source / "main.py"
        reads = "ScheduleSettings" in main.read_text(encoding="utf-8")
        assert function.reads_schedules == reads


def test_a_heartbeat_comes_several_times_within_the_alert_on_its_absence():
    """At every hour of every day, since silence must be noticed on a holiday too."""
    heartbeat = TOPOLOGY.schedules["heartbeat"]
    data = json.dumps(heartbeat.payload).encode()
    times = CronSim(heartbeat.cron, kst("2026-11-20 17:00"))
    gaps = [b - a for a, b in pairwise(islice(times, 100))]

    assert heartbeat.topic == "triggers"
    assert is_heartbeat(data)
    assert Heartbeat.from_bytes(data) == Heartbeat(source="schedule")
    assert max(gaps) == timedelta(hours=1)
