"""Tick to rows, through real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.cloud import pubsub_v1

from infra.local.broker.server import APP_KEY, SECRET_KEY
from infra.local.stack import PROJECT
from shared.messages import CollectRequest, TokenRequest
from tests.e2e.conftest import until
from tests.support.broker_rows import broker_rows
from tests.support.pushes import collector_of, push_request


def stored_rows(pipeline, stock_code, timeframe):
    rows = pipeline.query(
        "SELECT to_char(opened_at AT TIME ZONE 'Asia/Seoul', 'YYYYMMDDHH24MISS'),"
        " open, high, low, close, volume, turnover FROM candles"
        " WHERE stock_code = :stock_code AND timeframe = :timeframe",
        stock_code=stock_code,
        timeframe=timeframe,
    )
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize(
    ("timeframe", "since", "pages"),
    [
        ("5m", "20260820", 8),
        ("30m", "20260520", 3),
        ("60m", "20251120", 3),
        ("1d", "20211120", 3),
        ("1w", "20161120", 1),
    ],
)
def test_a_tick_stores_exactly_what_the_broker_has(pipeline, timeframe, since, pages):
    stock = "005930"

    run_id = pipeline.run(json.dumps({"timeframe": timeframe, "stocks": [stock]}))

    assert pipeline.tasks(run_id) == [(stock, timeframe, "done", pages)]
    stored = stored_rows(pipeline, stock, timeframe)
    wanted = broker_rows(pipeline.stack.base_url, stock, timeframe, since)
    # The market goes on while we look: the candle that is forming is left out.
    newest = max(wanted)
    for rows in (stored, wanted):
        rows.pop(newest, None)
        rows.pop("20261120103000", None)
    assert stored == wanted
    assert len(stored) > 400


def test_a_tick_for_the_targets_reaches_every_one_of_them(pipeline):
    run_id = pipeline.run('{"timeframe":"1w"}')

    states = {code: state for code, _, state, _ in pipeline.tasks(run_id)}
    assert len(states) == 30
    assert states.pop("091990") == "no_data"
    assert set(states.values()) == {"done"}


def test_a_delisted_stock_is_asked_about_once(pipeline):
    first = pipeline.run('{"timeframe":"1d","stocks":["091990"]}')
    again = pipeline.run('{"timeframe":"1d","stocks":["091990"]}')

    assert pipeline.tasks(first) == [("091990", "1d", "no_data", 1)]
    assert pipeline.tasks(again) == [("091990", "1d", "no_data", 0)]


def test_the_same_request_twenty_times_is_done_once(pipeline):
    run_id = pipeline.run('{"timeframe":"1d","stocks":["000660"],"period":"1y"}')
    before = stored_rows(pipeline, "000660", "1d")
    asked = pipeline.asked()
    (request,) = pipeline.query(
        "SELECT request::text FROM tasks WHERE run_id = :run_id", run_id=run_id
    )
    data = CollectRequest.from_bytes(request[0].encode()).to_bytes()

    with ThreadPoolExecutor(20) as pool:
        answers = set(
            pool.map(lambda n: push_request(pipeline.stack, data, str(n)), range(20))
        )

    assert answers == {200}
    assert stored_rows(pipeline, "000660", "1d") == before
    assert pipeline.asked() == asked


def test_the_same_request_twenty_times_at_once_is_done_once(pipeline):
    """Twenty deliveries while the task is running: one works, the others come back."""
    pipeline.scenario(faults=[])
    data = '{"timeframe":"30m","stocks":["035420"],"period":"6m"}'
    asked = pipeline.asked()
    run_id = pipeline.run(data)
    once = pipeline.asked() - asked

    pipeline.query(
        "UPDATE tasks SET state = 'queued' WHERE run_id = :run_id RETURNING 1",
        run_id=run_id,
    )
    pipeline.query(
        "DELETE FROM series WHERE stock_code = '035420' AND timeframe = '30m' RETURNING 1"
    )
    (request,) = pipeline.query(
        "SELECT request::text FROM tasks WHERE run_id = :run_id", run_id=run_id
    )
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda n: push_request(pipeline.stack, request[0].encode(), str(n)),
                range(20),
            )
        )

    assert set(answers) <= {200, 429}
    assert 200 in answers
    assert pipeline.asked() == asked + 2 * once


def test_a_redelivered_trigger_makes_no_second_run(pipeline):
    data = b'{"timeframe":"1d","stocks":["005380"],"period":"30d"}'
    count = "SELECT count(*) FROM runs"

    assert pipeline.push("dispatcher", "triggers", data, "redelivered") == 200
    runs = pipeline.query(count)
    assert pipeline.push("dispatcher", "triggers", data, "redelivered") == 200

    assert pipeline.query(count) == runs


def test_a_page_that_fails_stores_nothing_and_is_healed_by_the_redelivery(pipeline):
    stock = "105560"
    fault = {"kind": "server_error", "stock_code": stock, "page": 2}
    pipeline.scenario(faults=[fault])
    run_id = pipeline.stack.trigger(
        json.dumps({"timeframe": "1d", "stocks": [stock]}).encode()
    )
    task = "SELECT error_code, attempts FROM tasks WHERE run_id = :run_id"
    failed = "kiwoom_unavailable"
    until(
        lambda: (failed, 1) in pipeline.query(task, run_id=run_id),
        "the first attempt fails",
    )
    assert stored_rows(pipeline, stock, "1d") == {}
    assert pipeline.query(
        "SELECT covered_from FROM series WHERE stock_code = :code AND timeframe = '1d'",
        code=stock,
    ) == [(None,)]

    pipeline.scenario(faults=[])
    pipeline.settled(run_id)

    # The client itself tries three times before the message is given back; the page
    # that had come before is not asked for again.
    assert pipeline.tasks(run_id) == [(stock, "1d", "done", 1 + 3 + 2)]
    assert pipeline.query(task, run_id=run_id) == [(None, 2)]
    wanted = broker_rows(pipeline.stack.base_url, stock, "1d", "20211120")
    stored = stored_rows(pipeline, stock, "1d")
    wanted.pop("20261120000000")
    stored.pop("20261120000000")
    assert stored == wanted


def dead_letters(pipeline, count):
    """Take so many dead letters out of their subscription."""
    found = []
    with pubsub_v1.SubscriberClient() as subscriber:
        path = subscriber.subscription_path(PROJECT, "dead-letters")

        def pull():
            reply = subscriber.pull(
                subscription=path, max_messages=10, return_immediately=True
            )
            found.extend(received.message for received in reply.received_messages)
            if ids := [received.ack_id for received in reply.received_messages]:
                subscriber.acknowledge(subscription=path, ack_ids=ids)
            return len(found) >= count

        with pytest.warns(DeprecationWarning, match="return_immediately"):
            until(pull, f"{count} dead letters arrive")
    return found


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('{"timeframe":"15m"}', "timeframe: '15m' is not a timeframe"),
        ('{"timeframe":"1d","stock":["005930"]}', "stock: unknown field"),
        ("tick", "message: is not JSON"),
    ],
)
def test_a_malformed_trigger_is_a_dead_letter_at_once(pipeline, message, reason):
    runs = pipeline.query("SELECT count(*) FROM runs")

    pipeline.stack.publish("triggers", message.encode())

    (letter,) = dead_letters(pipeline, 1)
    assert letter.data.decode() == message
    assert letter.attributes["reason"].startswith(reason)
    assert letter.attributes["error_code"] == "malformed_message"
    assert pipeline.query("SELECT count(*) FROM runs") == runs


def test_a_stock_that_the_broker_does_not_know_is_a_dead_letter(pipeline):
    run_id = pipeline.run('{"timeframe":"1d","stocks":["999999"]}')

    (letter,) = dead_letters(pipeline, 1)
    assert letter.attributes["error_code"] == "unknown_stock"
    assert pipeline.query(
        "SELECT state, error_code, requests FROM tasks WHERE run_id = :run_id",
        run_id=run_id,
    ) == [("dead", "unknown_stock", 1)]


def test_history_is_deepened_by_the_real_gcloud(pipeline, tmp_path):
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        pytest.skip("needs gcloud")
    pipeline.run('{"timeframe":"1d","stocks":["051910"],"start":"2026-10-01"}')
    message = {
        "mode": "backfill",
        "timeframe": "1d",
        "stocks": ["051910"],
        "start": "2026-06-01",
        "end": "2026-10-01",
    }
    runs = "SELECT run_id FROM runs WHERE trigger ->> 'end' = '2026-10-01'"

    subprocess.run(
        [
            *(gcloud, "pubsub", "topics", "publish", "triggers"),
            f"--message={json.dumps(message)}",
        ],
        check=True,
        capture_output=True,
        env=os.environ
        | {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"http://{pipeline.stack.pubsub_host}/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_CONFIG": str(tmp_path),
        },
    )

    ((run_id,),) = until(lambda: pipeline.query(runs), "the run is there")
    pipeline.settled(run_id)
    assert pipeline.tasks(run_id) == [("051910", "1d", "done", 1)]
    stored = stored_rows(pipeline, "051910", "1d")
    wanted = broker_rows(pipeline.stack.base_url, "051910", "1d", "20260601")
    for rows in (stored, wanted):
        rows.pop("20261120000000")
    assert stored == wanted


def test_a_killed_collector_is_replaced_and_its_task_is_done(pipeline):
    """The framework's master starts a new worker; the message is delivered again."""
    child = pipeline.stack.functions[collector_of("1w")]
    child.kill()
    run_id = pipeline.stack.trigger(
        b'{"mode":"backfill","timeframe":"1w","stocks":["012330"]}'
    )
    pipeline.stack.start_function(collector_of("1w"))

    pipeline.settled(run_id)

    assert pipeline.tasks(run_id) == [("012330", "1w", "done", 1)]


def test_a_collector_that_is_stopped_finishes_its_message(pipeline):
    pipeline.scenario(faults=[{"kind": "slow", "stock_code": "028260"}])
    run_id = pipeline.stack.trigger(
        b'{"mode":"backfill","timeframe":"1w","stocks":["028260"]}'
    )
    asked = pipeline.asked()
    until(lambda: pipeline.asked() > asked, "the broker is asked")

    child = pipeline.stack.functions[collector_of("1w")]
    child.stop()

    assert pipeline.tasks(run_id) == [("028260", "1w", "done", 1)]
    pipeline.stack.start_function(collector_of("1w"))
    pipeline.scenario(faults=[])


def test_of_the_ticks_of_an_outage_one_is_enough(pipeline):
    child = pipeline.stack.functions["dispatcher"]
    child.stop()
    tick = b'{"timeframe":"1w","stocks":["006400"]}'
    runs = [pipeline.stack.trigger(tick) for _ in range(6)]

    pipeline.stack.start_function("dispatcher")
    states = "SELECT state FROM run_states WHERE run_id = ANY(:runs)"
    until(
        lambda: (
            sorted(pipeline.query(states, runs=runs))
            == [("complete",)] + [("superseded",)] * 5
        ),
        "one of them is done and the others are superseded",
    )


def test_a_token_that_dies_early_is_replaced_by_itself(pipeline):
    """No try is counted, and however many ask, one token is issued."""
    issued = pipeline.tokens_issued()
    pipeline.scenario(faults=[{"kind": "token_dies", "times": 1}])
    stocks = ["005490", "055550", "015760", "096770", "323410", "033780"]
    message = {"timeframe": "1w", "stocks": stocks}

    run_id = pipeline.run(json.dumps(message))

    assert {state for _, _, state, _ in pipeline.tasks(run_id)} == {"done"}
    assert pipeline.query(
        "SELECT DISTINCT attempts FROM tasks WHERE run_id = :run_id", run_id=run_id
    ) == [(1,)]
    assert pipeline.tokens_issued() == issued + 1


def test_two_refreshes_at_once_issue_one_token(pipeline):
    issued = pipeline.tokens_issued()
    name = f"projects/{PROJECT}/secrets/kiwoom-token/versions"
    version = f"{name}/{pipeline.stack.secrets.count('kiwoom-token')}"
    request = TokenRequest(reason="token_rejected", rejected_version=version)

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(
            lambda n: pipeline.push(
                "token_refresher", "tokens", request.to_bytes(), str(n)
            ),
            range(4),
        )

    assert set(answers) == {200}
    assert pipeline.tokens_issued() == issued + 1


def test_a_token_that_an_operator_destroyed_is_replaced_at_the_next_tick(pipeline):
    secrets = pipeline.stack.secrets
    before = secrets.count("kiwoom-token")
    secrets.destroy("kiwoom-token")

    pipeline.push("token_refresher", "tokens", b'{"reason":"schedule"}', "destroyed")

    assert secrets.count("kiwoom-token") == before + 1


def test_a_token_that_is_null_is_not_stored(pipeline):
    before = pipeline.stack.secrets.count("kiwoom-token")
    pipeline.scenario(faults=[{"kind": "null_token", "times": 1}])
    force = b'{"reason":"operator","force":true}'

    assert pipeline.push("token_refresher", "tokens", force, "null") == 503

    assert pipeline.stack.secrets.count("kiwoom-token") == before
    log = (pipeline.stack.logs / "token_refresher.log").read_text(encoding="utf-8")
    assert "au10001: token is missing or null" in log


def test_a_heartbeat_is_one_line_in_the_log_and_no_run(pipeline):
    runs = "SELECT count(*) FROM runs"
    before = pipeline.query(runs)

    answer = pipeline.push("dispatcher", "triggers", b'{"heartbeat":"test"}', "beat")

    assert (answer, pipeline.query(runs)) == (200, before)
    log = (pipeline.stack.logs / "dispatcher.log").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (beat,) = [line for line in lines if line.get("event") == "heartbeat"]
    assert (beat["source"], beat["targets"]) == ("test", 30)
    assert beat["behind"] >= len(beat["stocks"])


def test_no_secret_is_in_any_log_or_table(pipeline):
    secrets = [APP_KEY, SECRET_KEY]
    tokens = pipeline.stack.secrets.payloads("kiwoom-token")
    secrets += [json.loads(token)["token"] for token in tokens]
    assert len(secrets) > 3
    assert len(secrets[-1]) > 20

    written = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in pipeline.stack.logs.glob("*.log")
    )
    for (table,) in pipeline.query(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        " AND tablename NOT LIKE 'candles%'"
    ):
        written += str(pipeline.query(f"SELECT t::text FROM {table} AS t"))

    assert "collected" in written
    assert [secret for secret in secrets if secret in written] == []


def test_logs_are_lines_of_json_with_one_canonical_line_a_message(pipeline):
    log = (pipeline.stack.logs / f"{collector_of('1w')}.log").read_text("utf-8")
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]

    collected = [entry for entry in entries if entry.get("event") == "collected"]
    assert collected
    assert {"run_id", "stock_code", "timeframe", "requests", "severity"} <= collected[
        0
    ].keys()


def test_the_master_and_the_calendar_are_synced_by_a_message(pipeline):
    pipeline.stack.publish("reference", b'{"sync":["calendar","stocks"]}')

    count = "SELECT count(*) FROM stocks"
    until(lambda: pipeline.query(count)[0][0] > 2_000, "the master is there")
    assert pipeline.query("SELECT count(*) FROM stocks WHERE is_target") == [(30,)]
    assert pipeline.query("SELECT listed FROM stocks WHERE stock_code = '091990'") == [
        (False,)
    ]
    assert pipeline.query(
        "SELECT market_name, count(*) FROM stocks GROUP BY 1 ORDER BY 2"
    ) == [("거래소", 950), ("코스닥", 1_821)]
