"""The page and the API on real PostgreSQL: every number recomputed by SQL."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from functions.status_page import status
from functions.status_page.app import new_app
from functions.status_page.services import Services
from infra import topology
from shared.candles import Timeframe
from shared.database import session_counts
from shared.database.engine import new_engine
from shared.database.report_store import ReportStore
from shared.database.run_ledger import RunLedger
from shared.database.session_seals import SessionSeals
from shared.database.session_store import SessionStore
from shared.freshness import DueTimes
from shared.reports import BehindReason
from shared.settings import DatabaseSettings
from shared.verdicts import Judge
from tests.support.builders import CALENDAR, day, kst
from tests.support.rows import execute

NOW = kst("2026-11-20 10:31:40")
M5 = Timeframe.MINUTE_5
TICKS = topology.ticks(topology.load())
# A made-up clock runs this far ahead of PostgreSQL's.
OFFSET = timedelta(days=3)


@pytest.fixture
def reading(database_url):
    """As the function connects: pool of two, and nothing can be written."""
    settings = DatabaseSettings(url=database_url, pool_size=2, read_only=True)
    engine = new_engine(settings)
    yield engine
    engine.dispose()


def services_at(reading, now=NOW):
    return Services(
        reports=ReportStore(reading, OFFSET),
        calendar=SessionStore(reading).calendar,
        ticks=TICKS,
        clock=lambda: now,
    )


@pytest.fixture
def client(reading, reference_data):
    return new_app(services_at(reading)).test_client()


def a_series(engine, code="005930", frame="5m", **values):
    known = {
        "covered_from": day("2026-11-16"),
        "wanted_from": day("2026-11-16"),
        "settled_through": day("2026-11-19"),
        "oldest": day("2026-11-16"),
        "asked_at": kst("2026-11-20 10:30:03"),
    } | values
    names = ", ".join(known)
    execute(
        engine,
        f"INSERT INTO series (stock_code, timeframe, {names}) "
        f"VALUES (:code, :frame, {', '.join(':' + name for name in known)})",
        code=code,
        frame=frame,
        **known,
    )


def candles_of(engine, instants, code="005930", frame="5m"):
    execute(
        engine,
        "INSERT INTO candles (stock_code, timeframe, opened_at, open, high, low, close,"
        " volume, session) SELECT :code, :frame, at, 100, 110, 90, 105, 7, 'regular'"
        " FROM unnest(cast(:instants AS timestamptz[])) AS t (at)",
        code=code,
        frame=frame,
        instants="{" + ",".join(at.isoformat() for at in instants) + "}",
    )


def absent(engine, instants, confirmations=1):
    execute(
        engine,
        "INSERT INTO absent_slots (stock_code, timeframe, opened_at, run_id,"
        " confirmations) SELECT '005930', '5m', at, 'run-1', :confirmations"
        " FROM unnest(cast(:instants AS timestamptz[])) AS t (at)",
        confirmations=confirmations,
        instants="{" + ",".join(at.isoformat() for at in instants) + "}",
    )


def slots(of):
    return CALENDAR.slots(M5, day(of))


def letters(client, code="005930"):
    map_of = client.get("/api/coverage/5m?start=2026-11-13").get_json()
    found = {stock["code"]: stock["letters"] for stock in map_of["stocks"]}
    return found[code]


def test_what_only_reads_cannot_write(reading, reference_data):
    with pytest.raises(DBAPIError, match="read-only"):
        execute(reading, "DELETE FROM stocks")


def test_each_session_has_the_letter_of_what_is_stored(client, engine):
    a_series(engine)
    candles_of(engine, slots("2026-11-16"))
    candles_of(engine, slots("2026-11-17")[5:])
    absent(engine, slots("2026-11-17")[:5], 2)
    absent(engine, slots("2026-11-18"))
    candles_of(engine, slots("2026-11-19")[1:])

    # 13th: before the covered days; 20th: under way.
    assert letters(client) == "xctemp"


def test_of_stocks_with_the_same_candles_each_has_its_own_absences(client, engine):
    for code in ("005930", "000660", "035420"):
        a_series(engine, code)
        candles_of(engine, slots("2026-11-16")[1:], code)
    absent(engine, slots("2026-11-16")[:1])

    assert letters(client)[1] == "t"
    assert letters(client, "000660")[1] == letters(client, "035420")[1] == "m"


def test_a_stock_that_left_today_has_not_left_before_its_newest_candle(client, engine):
    a_series(engine)
    candles_of(engine, slots("2026-11-20")[:3])
    execute(engine, "UPDATE stocks SET listed = false WHERE stock_code = '005930'")

    assert letters(client)[-1] == "p"


def test_a_day_after_which_a_stock_traded_is_not_given_up_before_it_settles(
    client, engine
):
    a_series(engine, settled_through=day("2026-11-18"))
    candles_of(engine, slots("2026-11-20")[:3])

    assert letters(client)[-2:] == "pp"


def test_a_candle_outside_of_the_grid_makes_nothing_complete(client, engine):
    a_series(engine)
    called = kst("2026-11-16 15:20")
    candles_of(engine, [*slots("2026-11-16")[1:], called])

    assert letters(client)[1] == "m"
    session = client.get("/api/sessions/005930/5m/2026-11-16").get_json()
    assert (session["candles"], session["missing"]) == (len(slots("2026-11-16")) - 1, 1)


def test_a_day_without_trades_explains_minutes(client, engine):
    a_series(engine, covered_from=day("2026-11-19"), oldest=day("2026-11-19"))
    execute(
        engine,
        "INSERT INTO candles (stock_code, timeframe, opened_at, open, high, low, close,"
        " volume, session) VALUES ('005930', '1d', :at, 9, 9, 9, 9, 0, 'regular')",
        at=kst("2026-11-19"),
    )

    assert letters(client)[-2:] == "ep"
    slot = client.get("/api/slots/005930/5m/2026-11-19T10:00").get_json()
    assert (slot["state"], slot["reason"]) == ("no_trades", "day_without_trades")


def test_a_candle_that_goes_away_is_missing_at_once(client, engine):
    a_series(engine, covered_from=day("2026-11-19"), oldest=day("2026-11-19"))
    candles_of(engine, slots("2026-11-19"))
    before = client.get("/api/coverage/5m?start=2026-11-19")
    execute(
        engine, "DELETE FROM candles WHERE opened_at = :at", at=kst("2026-11-19 10:00")
    )
    after = client.get(
        "/api/coverage/5m?start=2026-11-19",
        headers={"If-None-Match": before.headers["ETag"]},
    )

    assert after.status_code == 200
    assert after.get_json()["stocks"][4]["letters"][0] == "m"


@pytest.mark.parametrize("frame", ["5m", "1d"])
def test_the_overview_misses_a_candle_that_went_without_a_trace(client, engine, frame):
    a_series(engine, frame=frame)
    days = CALENDAR.session_dates(day("2026-11-16"), day("2026-11-19"))
    timeframe = Timeframe(frame)
    candles_of(
        engine,
        [at for each in days for at in CALENDAR.slots(timeframe, each)],
        frame=frame,
    )
    SessionSeals(engine).seal("005930", timeframe)

    def missing():
        tiles = client.get("/api/status").get_json()["timeframes"]
        return {tile["timeframe"]: tile["missing_candles"] for tile in tiles}[frame]

    assert missing() == 0
    execute(
        engine,
        "DELETE FROM candles WHERE opened_at ="
        " (SELECT min(opened_at) FROM candles WHERE opened_at >= '2026-11-17')",
    )
    assert missing() == 1


def test_the_status_counts_what_sql_counts(client, engine):
    a_series(engine, frame="1d", asked_at=kst("2026-11-20 07:30:04"))
    a_series(engine, asked_at=kst("2026-11-20 10:20:04"))
    told = client.get("/api/status").get_json()
    five, *_, days, _weeks = told["timeframes"]

    targets = execute(
        engine, "SELECT count(*) FROM stocks WHERE is_target AND listed"
    ).scalar()
    assert (five["series"], five["late"]) == (targets, targets)
    assert (days["series"], days["late"]) == (targets, targets - 1)
    assert told["complete"] is False
    # Never loaded, but for one; and one that no one asked.
    reasons = {(p["timeframe"], p["reason"]): p["series"] for p in told["problems"]}
    assert reasons["5m", "never_loaded"] == targets - 1
    assert reasons["5m", "not_asked_since"] == 1


def test_late_by_sql_is_late_by_the_judge(reading, engine, reference_data):
    """One rule: what is due is computed in Python, SQL compares with an instant."""
    chosen = random.Random(7)
    codes = [stock.code for stock in ReportStore(engine).stocks()]
    for code in codes:
        for frame in Timeframe:
            if chosen.random() < 0.1:
                continue
            through = day("2026-11-10") + timedelta(days=chosen.randrange(11))
            a_series(
                engine,
                code,
                frame.value,
                covered_from=chosen.choice([None, day("2026-11-02")]),
                settled_through=chosen.choice([None, through]),
                ended=chosen.random() < 0.1,
                asked_at=chosen.choice(
                    [None, NOW - timedelta(minutes=chosen.randrange(6000))]
                ),
            )
    execute(
        engine,
        "UPDATE stocks SET listed = stock_code > '005930', "
        "is_target = stock_code <> '035420', listed_on = CASE "
        "WHEN stock_code > '200000' THEN cast('2026-11-20' AS date) END",
    )
    store = ReportStore(reading)
    for minutes in (0, 3, 40, 60 * 11, 60 * 24):
        now = NOW + timedelta(minutes=minutes)
        judges = {f: Judge(DueTimes(CALENDAR, TICKS), f, now) for f in Timeframe}
        counts = store.counts({f: judge.latest_due for f, judge in judges.items()})
        for frame, judge in judges.items():
            series = store.series([frame], day("2026-11-20"))
            late = sum(judge.is_late(each.facts) for each in series)
            assert counts[frame].late == late, (frame, now)


def test_the_cause_of_late_series_is_that_of_their_newest_task(client, engine):
    a_series(engine, asked_at=kst("2026-11-20 10:20:04"))
    execute(
        engine,
        "INSERT INTO runs (run_id, message_id, trigger, requested_at) "
        "VALUES ('run-1', '1', '{\"timeframe\":\"5m\"}', now())",
    )
    execute(
        engine,
        "INSERT INTO tasks (run_id, stock_code, timeframe, request, state, error_code,"
        " error_message) VALUES ('run-1', '005930', '5m', '{}', 'failed',"
        " 'kiwoom_unavailable', 'no answer')",
    )

    problems = client.get("/api/status").get_json()["problems"]

    (found,) = [p for p in problems if p["cause"] == "error"]
    assert (found["error_code"], found["series"]) == ("kiwoom_unavailable", 1)
    assert found["run_id"] == "run-1"
    assert "broker is down" in found["remedy"]
    assert "kiwoom_unavailable" in client.get("/").text


def a_task(engine, run_id, state, error_code=None, code="005930"):
    """A task of 5 minutes; the runs are as old as their ids are small."""
    execute(
        engine,
        "INSERT INTO runs (run_id, message_id, trigger, requested_at, written_at) "
        'VALUES (:run_id, :run_id, \'{"timeframe":"5m"}\', now(),'
        " timestamptz '2026-11-20 10:20+09' + cast(:run_id AS int) * interval '5 min')"
        " ON CONFLICT DO NOTHING",
        run_id=run_id,
    )
    execute(
        engine,
        "INSERT INTO tasks (run_id, stock_code, timeframe, request, state, error_code,"
        " error_message) VALUES (:run_id, :code, '5m', '{}', :state, :error_code, 'no')",
        run_id=run_id,
        code=code,
        state=state,
        error_code=error_code,
    )


def test_series_that_are_late_for_one_error_are_one_problem(client, engine):
    """Whether their tasks are tried again at the moment makes no difference."""
    for code, state in (("005930", "failed"), ("000660", "running")):
        a_series(engine, code=code, asked_at=kst("2026-11-20 10:20:04"))
        a_task(engine, "1", state, "token_rejected", code)

    problems = client.get("/api/status").get_json()["problems"]

    (found,) = [p for p in problems if p["cause"] == "error"]
    assert (found["error_code"], found["series"]) == ("token_rejected", 2)


@pytest.mark.parametrize(
    ("before", "newest", "told"),
    [
        (("failed", "token_rejected"), "queued", ("token_rejected", "1")),
        (("failed", "token_rejected"), "running", ("token_rejected", "1")),
        (("failed", "token_rejected"), "done", (None, "2")),
        (("dead", "kiwoom_8001"), "queued", (None, "2")),
        (("done", None), "queued", (None, "2")),
    ],
)
def test_a_tick_that_begins_does_not_hide_why_the_last_one_fails(
    before, newest, told, client, engine
):
    a_series(engine, asked_at=kst("2026-11-20 10:20:04"))
    a_task(engine, "0", "failed", "kiwoom_unavailable")
    a_task(engine, "1", *before)
    a_task(engine, "2", newest)

    problems = client.get("/api/status").get_json()["problems"]

    (found,) = [p for p in problems if p["run_id"]]
    assert (found["error_code"], found["run_id"]) == told


def test_a_broken_seal_is_told(client, engine):
    execute(
        engine,
        "INSERT INTO broken_seals (stock_code, timeframe, session_date, sealed, found)"
        " VALUES ('005930', '5m', '2026-11-19', 104, 103)",
    )

    told = client.get("/api/status").get_json()
    assert told["complete"] is False
    assert told["broken_seals"][0]["session"] == "2026-11-19"
    assert "103" in client.get("/").text
    assert (told["broken"], len(told["broken_seals"])) == (1, 1)


@pytest.mark.parametrize(
    ("frame", "sealed", "session"),
    [("5m", "2026-11-18", "2026-11-18"), ("1d", "2026-01-01", "2026-11-18")],
)
def test_a_session_with_a_broken_seal_says_so(client, engine, frame, sealed, session):
    execute(
        engine,
        "INSERT INTO broken_seals (stock_code, timeframe, session_date, sealed, found)"
        f" VALUES ('005930', '{frame}', '{sealed}', 104, 103)",
    )

    def told(session):
        answer = client.get(f"/api/sessions/005930/{frame}/{session}").get_json()
        page = client.get(f"/coverage/{frame}/005930/{session}?lang=en").text
        return answer["broken"], "The seal is broken: 104 candles were sealed" in page

    broken, says_so = told(session)
    assert (broken["session"], broken["found"], says_so) == (sealed, 103, True)
    assert frame == "1d" or told("2026-11-19") == (None, False)


@pytest.mark.parametrize(
    ("frame", "session"), [("1d", "2026-11-18"), ("1w", "2026-11-16")]
)
def test_a_split_is_marked_in_the_candle_in_which_it_took_effect(
    client, engine, frame, session
):
    a_series(engine, frame=frame, asked_at=kst("2026-11-20 07:30:04"))
    execute(
        engine,
        "INSERT INTO corporate_actions (stock_code, timeframe, after_date,"
        " effective_by, ratio, evidence, run_id) VALUES ('005930', :frame,"
        " '2026-11-17', '2026-11-18', 0.2, '{}', 'run-1')",
        frame=frame,
    )

    told = client.get(f"/api/coverage/{frame}?start=2026-11-09").get_json()
    (stock,) = [each for each in told["stocks"] if "marks" in each]
    ((place, mark),) = stock["marks"].items()
    assert (told["sessions"][int(place)], mark) == (session, 1)
    cell = f"/{frame}/005930/{session}?lang=en"
    assert "old prices × 0.2" in client.get(f"/coverage{cell}").text
    told = client.get(f"/api/sessions/005930/{frame}/{session}").get_json()
    assert told["marks"] == ["rebuilt"]
    assert (
        f"{session}T00:00:00+09:00"
        in client.get(f"/stocks/005930?timeframe={frame}").text
    )


def test_a_doubt_that_the_dispatcher_tells_is_on_the_page_too(client, engine):
    a_series(engine)
    execute(
        engine,
        "UPDATE series SET unproven_on = '2026-11-20', unproven_ratio = 0.2",
    )
    execute(
        engine,
        "UPDATE stocks SET listed = false, absences = 2 WHERE stock_code = '000660'",
    )

    told = client.get("/api/status").get_json()["doubts"]

    behind = RunLedger(engine).behind(DueTimes(CALENDAR, TICKS).expected_by(NOW))
    reasons = {BehindReason.UNPROVEN: "unproven", BehindReason.VANISHED: "vanished"}
    assert {(each["stock_code"], each["reason"]) for each in told} == {
        (each.stock_code, reasons[each.reason])
        for each in behind
        if not each.reason.is_late
    }
    assert len(told) == 2


def test_of_a_limit_the_requests_of_a_quarter_of_an_hour_are_counted(client, engine):
    execute(
        engine,
        "INSERT INTO rate_slots (app_key_id, api_id, next_free_at) VALUES"
        " ('a', 'ka10080', now()), ('b', 'ka10080', now()), ('a', 'ka10099', now())",
    )
    execute(
        engine,
        "INSERT INTO runs (run_id, message_id, trigger, requested_at, written_at)"
        " SELECT 'run-' || n, n, '{}', now(), now() - n * interval '1 hour'"
        " FROM generate_series(0, 2) AS n",
    )
    # The second run is at work since an hour ago, the third one ended.
    execute(
        engine,
        "INSERT INTO tasks (run_id, stock_code, timeframe, request, state, requests,"
        " finished_at) VALUES"
        " ('run-0', '005930', '5m', '{}', 'done', 3, now()),"
        " ('run-0', '005930', '60m', '{}', 'done', 4, now()),"
        " ('run-0', '005930', '1d', '{}', 'done', 50, now()),"
        " ('run-1', '005930', '5m', '{}', 'done', 600, now() - interval '14 minutes'),"
        " ('run-1', '000660', '5m', '{}', 'done', 7000, now() - interval '16 minutes'),"
        " ('run-1', '035420', '5m', '{}', 'queued', 0, NULL),"
        " ('run-2', '005930', '5m', '{}', 'done', 80000, now() - interval '1 hour')",
    )

    minutes, other = client.get("/api/status").get_json()["rates"]

    assert (minutes["api_id"], minutes["requests"]) == ("ka10080", 3 + 4 + 600)
    assert (other["api_id"], other["requests"]) == ("ka10099", None)


def test_instants_of_the_database_move_with_the_clock(client, engine):
    execute(
        engine,
        "INSERT INTO runs (run_id, message_id, trigger, requested_at, no_session) "
        "VALUES ('run-1', '1', '{}', :now, true)",
        now=NOW,
    )
    written = execute(engine, "SELECT written_at FROM runs").scalar()

    run = client.get("/api/runs/run-1").get_json()

    assert run["recorded_at"] == ((written + OFFSET).astimezone(NOW.tzinfo).isoformat())
    assert run["requested_at"] == "2026-11-20T10:31:40+09:00"
    assert run["state"] == "no_session"


def test_the_requests_of_a_run_stand_beside_the_least_that_were_possible(
    client, engine
):
    execute(
        engine,
        "INSERT INTO runs (run_id, message_id, trigger, requested_at)"
        " VALUES ('run-1', '1', '{}', now())",
    )
    # 901 rows of minutes are two pages, and an answer without a row is one; what asked
    # nothing had nothing to ask.
    execute(
        engine,
        "INSERT INTO tasks (run_id, stock_code, timeframe, request, state, requests,"
        " inserted, unchanged) VALUES"
        " ('run-1', '005930', '5m', '{}', 'done', 5, 900, 1),"
        " ('run-1', '000660', '5m', '{}', 'done', 1, 0, 0),"
        " ('run-1', '035420', '5m', '{}', 'done', 0, 0, 0),"
        " ('run-1', '005930', '1d', '{}', 'done', 2, 601, 0)",
    )

    told = client.get("/api/runs/run-1").get_json()["groups"]

    assert [(g["requests"], g["least_requests"]) for g in told] == [(6, 3), (2, 2)]
    page = client.get("/runs/run-1?lang=en").text
    assert "8; 5 would have been the least" in page


def test_runs_are_read_page_by_page_and_none_twice(client, engine):
    execute(
        engine,
        "INSERT INTO runs (run_id, message_id, trigger, requested_at, written_at) "
        "SELECT 'run-' || n, n, '{}', now(), now() - n * interval '1 minute' "
        "FROM generate_series(1, 7) AS n",
    )
    found, url = [], "/api/runs?limit=3"
    while url:
        told = client.get(url).get_json()
        found += [run["run_id"] for run in told["runs"]]
        url = told.get("next")

    assert found == [f"run-{n}" for n in range(1, 8)]


def test_candles_are_read_page_by_page_as_json_or_csv(client, engine):
    a_series(engine, settled_through=day("2026-11-16"))
    wanted = slots("2026-11-16") + slots("2026-11-17")
    candles_of(engine, wanted)
    found, url = [], "/api/candles/005930/5m?start=2026-11-16&limit=50"
    while url:
        told = client.get(url).get_json()
        found += told["candles"]
        url = told.get("next")

    assert [each["opened_at"] for each in found] == [at.isoformat() for at in wanted]
    assert [each["is_settled"] for each in found].count(True) == len(
        slots("2026-11-16")
    )
    settled = client.get(
        "/api/candles/005930/M5?settled=true&limit=5000", headers={"Accept": "text/csv"}
    )
    lines = settled.text.splitlines()
    assert lines[0].startswith("opened_at,open,high")
    assert len(lines) == 1 + len(slots("2026-11-16"))
    assert lines[1] == "2026-11-16T09:00:00+09:00,100,110,90,105,7,,regular,true"
    nothing = client.get("/api/candles/005930/5m", headers={"Accept": "image/png"})
    assert nothing.status_code == 406


def test_the_slots_of_a_series_are_those_of_its_sessions(client, engine):
    a_series(engine)
    candles_of(engine, slots("2026-11-19"))

    told = client.get("/api/slots/005930/5m?sessions=2").get_json()

    thursday, friday = told["letters"]
    assert thursday.replace(" ", "") == "c" * len(slots("2026-11-19"))
    assert set(friday.replace(" ", "")) == {"p"}
    # Exam day opens an hour later.
    assert thursday[told["times"].index("09:30")] == " "


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?lang=en&theme=dark",
        *(f"/coverage/{frame}" for frame in Timeframe),
        "/coverage/1w?sessions=250",
        "/stocks",
        "/stocks?q=삼성",
        *(f"/stocks/005930?timeframe={frame}" for frame in Timeframe),
        "/runs",
    ],
)
def test_every_page_is_there_whatever_is_stored(path, client, engine):
    empty = client.get(path)
    for frame in Timeframe:
        a_series(engine, frame=frame.value)
    candles_of(engine, slots("2026-11-18"))
    full = client.get(path)

    assert (empty.status_code, full.status_code) == (200, 200)
    assert "<!doctype html>" in full.text


def test_nothing_is_stored_and_the_page_says_so(reading, engine):
    client = new_app(services_at(reading)).test_client()

    for path in ("/", "/api/status", "/coverage/5m"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]


def test_the_state_of_the_database_is_one_short_query(reading, reference_data, engine):
    store = ReportStore(reading)
    before = store.snapshot()

    assert store.snapshot() == before
    execute(engine, "UPDATE stocks SET sector = 'x' WHERE stock_code = '005930'")
    assert store.snapshot() != before


def test_a_contract_is_kept_by_what_is_answered(client, engine):
    """Every answer has what the contract requires."""
    a_series(engine)
    candles_of(engine, slots("2026-11-19"))
    contract = json.loads(client.get("/openapi.json").data)
    schemas = contract["components"]["schemas"]
    for path, name in (
        ("/api/status", "Status"),
        ("/api/coverage/5m", "Coverage"),
        ("/api/candles/005930/5m", "Candles"),
    ):
        assert set(schemas[name]["required"]) <= client.get(path).get_json().keys()


@pytest.fixture
def of_many(monkeypatch):
    """Series are as many as those of a market."""
    monkeypatch.setattr(status, "MANY_SERIES", 0)


def test_the_letters_of_a_market_are_those_of_its_candles(client, engine, monkeypatch):
    """Without a look at sessions that are not settled."""
    codes = ["005930", "000660", "035720", "051910", "005380"]
    for code, settled in zip(codes, (19, 19, 18, 18, 17), strict=True):
        a_series(engine, code, settled_through=day(f"2026-11-{settled}"))
        candles_of(engine, slots("2026-11-17") + slots("2026-11-18")[1:], code)
        SessionSeals(engine).seal(code, M5)
    candles_of(engine, slots("2026-11-20")[:3], "005930")
    candles_of(engine, slots("2026-11-20")[:3], "035720")

    def letters_of_all(query):
        stocks = client.get(f"/api/coverage/5m?start=2026-11-17{query}").get_json()
        return [stock["letters"] for stock in stocks["stocks"]]

    by_candles = letters_of_all("")
    monkeypatch.setattr(session_counts, "MANY_SERIES", 0)

    assert letters_of_all("") == letters_of_all("&counts=true") == by_candles
    assert len(set(by_candles)) > 3
    told = client.get("/api/coverage/5m?start=2026-11-20&counts=true").get_json()
    counted = {stock["code"]: stock["candles"] for stock in told["stocks"]}
    assert (counted["005930"], counted["000660"]) == ([3], [0])


def test_of_a_market_gaps_are_found_by_counting_and_named_by_their_seals(
    client, engine, of_many
):
    codes = ["005930", "000660", "035720", "051910", "005380"]
    whole, dropped, thin, masked, unserved = codes
    for code in codes:
        a_series(engine, code, covered_from=day("2026-11-18"), oldest=day("2026-11-18"))
    days = slots("2026-11-18") + slots("2026-11-19")
    candles_of(engine, days, whole)
    candles_of(engine, days[1:], dropped)
    candles_of(engine, days[1:], thin)
    # A candle that opens in the closing call stands for no slot.
    candles_of(engine, [*days[1:], kst("2026-11-18 15:20")], masked)
    candles_of(engine, slots("2026-11-18"), unserved)
    execute(
        engine,
        "INSERT INTO absent_slots (stock_code, timeframe, opened_at, run_id)"
        " VALUES (:code, '5m', :at, 'run-1')",
        code=thin,
        at=days[0],
    )
    execute(
        engine,
        "UPDATE series SET settled_through = '2026-11-18' WHERE stock_code = :code",
        code=unserved,
    )
    for code in codes:
        SessionSeals(engine).seal(code, M5)

    told = client.get("/api/status").get_json()

    gaps = {
        problem["stocks"][0]["code"]: (problem["reason"], problem["candles"])
        for problem in told["problems"]
        if problem["timeframe"] == "5m" and problem["state"] == "missing"
    }
    assert gaps == {
        dropped: ("unexplained", 1),
        masked: ("unexplained", 1),
        unserved: ("not_served", len(slots("2026-11-19"))),
    }
