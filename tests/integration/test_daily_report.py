"""The daily report on real PostgreSQL: every number recomputed by other SQL."""

from __future__ import annotations

import random
from datetime import timedelta
from hashlib import sha256

import pytest
from cronsim import CronSim

from functions.daily_report.main import facts
from functions.daily_report.report import bring_up_to_date
from functions.status_page.app import new_app
from functions.status_page.services import Services
from infra import topology
from shared.candles import Timeframe
from shared.coverage import candle_end
from shared.daily_reports import NO_REPORT, span
from shared.database.daily_reports import DailyReports
from shared.database.engine import new_engine
from shared.database.report_store import ReportStore
from shared.database.session_store import SessionStore
from shared.errors import DatabaseMisconfigured, MalformedMessage
from shared.freshness import DueTimes, Tick
from shared.sessions import DAY, KST, midnight
from shared.settings import DatabaseSettings
from tests.support.builders import CALENDAR, day, kst
from tests.support.rows import execute, insert

# A made-up clock runs this far ahead of PostgreSQL's.
OFFSET = timedelta(days=3, hours=5)
FRIDAY = day("2026-11-20")
EVENING = kst("2026-11-20 21:15")
STOCKS = ["000660", "005930", "035420"]
SCHEDULES = [
    schedule
    for schedule in topology.load().schedules.values()
    if schedule.topic == "triggers"
    and Tick.of(schedule.cron, schedule.payload) is not None
]
TICKS = [Tick.of(schedule.cron, schedule.payload) for schedule in SCHEDULES]
FRAMES = [Timeframe.MINUTE_5, Timeframe.DAY_1]
FIRST, SETTLED = day("2026-11-09"), day("2026-11-19")


def at(instant):
    """What PostgreSQL's clock says at an instant of the pipeline's."""
    return instant - OFFSET


@pytest.fixture
def history(engine, reference_data):
    """Two weeks of three stocks, with everything in them that a report counts."""
    chosen = random.Random(20261120)
    execute(
        engine,
        "UPDATE stocks SET is_target = stock_code = ANY(:codes), listed = true",
        codes=STOCKS,
    )
    for code in STOCKS:
        for frame in FRAMES:
            a_series(engine, chosen, code, frame)
    events(engine, chosen)
    ledger(engine, chosen)
    execute(
        engine,
        "INSERT INTO rate_slots (app_key_id, api_id, next_free_at, slowed_seconds)"
        " VALUES ('k', 'ka10080', now(), 12.5), ('k', 'ka10081', now(), 0.25)",
    )
    return chosen


def a_series(engine, chosen, code, frame):
    execute(
        engine,
        "INSERT INTO series (stock_code, timeframe, covered_from, wanted_from, loaded_on,"
        " settled_through, oldest, collected_at, asked_at)"
        " VALUES (:code, :frame, :first, :first, :loaded, :through, :first, :asked,"
        " :asked)",
        code=code,
        frame=frame.value,
        first=FIRST,
        loaded=chosen.choice([None, day("2026-11-12")]),
        through=SETTLED,
        # One of them was not asked for since noon.
        asked=kst("2026-11-20 12:00" if code == "035420" else "2026-11-20 20:55:02"),
    )
    days = list(CALENDAR.session_dates(FIRST, SETTLED))
    slots = [slot for each in days for slot in CALENDAR.slots(frame, each)]
    gone = [slot for slot in slots if chosen.random() < 0.02]
    absent = [slot for slot in gone if chosen.random() < 0.7]
    execute(
        engine,
        "INSERT INTO candles (stock_code, timeframe, opened_at, open, high, low, close,"
        " volume, session) SELECT :code, :frame, at, 100, 110, 90, 105, 7, 'regular'"
        " FROM unnest(cast(:slots AS timestamptz[])) AS t (at)",
        code=code,
        frame=frame.value,
        slots=array(set(slots) - set(gone)),
    )
    execute(
        engine,
        "INSERT INTO absent_slots (stock_code, timeframe, opened_at, run_id)"
        " SELECT :code, :frame, at, 'run' FROM unnest(cast(:slots AS timestamptz[]))"
        " AS t (at)",
        code=code,
        frame=frame.value,
        slots=array(absent),
    )
    for each in days if frame.minutes else [day("2026-01-01")]:
        a_seal(engine, code, frame, each, sometime(chosen), chosen.randbytes(32))


def a_seal(engine, code, frame, session, sealed_at, digest=b"\0" * 32):
    execute(
        engine,
        "INSERT INTO session_seals (stock_code, timeframe, session_date, candles,"
        " digest, sealed_at) VALUES (:code, :frame, :session, 104, :digest, :at)",
        code=code,
        frame=frame.value,
        session=session,
        digest=digest,
        at=at(sealed_at),
    )


def array(instants):
    return "{" + ",".join(each.isoformat() for each in instants) + "}"


def sometime(chosen):
    """An instant of the days before the report, often close to where a day ends."""
    near = timedelta(seconds=chosen.choice([-1, 0, 1]))
    if chosen.random() < 0.3:
        evening = kst("2026-11-17 21:00") + DAY * chosen.randrange(4)
        return evening + near
    return kst("2026-11-17 00:00") + timedelta(minutes=chosen.randrange(4 * 24 * 60))


def events(engine, chosen):
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 1)
    for table, column, facts_of in (
        (
            "revisions",
            "revised_at",
            lambda n: {
                "timeframe": "5m",
                "opened_at": kst("2026-11-16 09:00") + timedelta(minutes=n),
                "withdrawn": n % 7 == 0,
                **prices,
            },
        ),
        (
            "corporate_actions",
            "detected_at",
            lambda n: {
                "timeframe": "1d",
                "after_date": FIRST + DAY * n,
                "effective_by": FIRST + DAY * n,
                "ratio": 0.2,
                "evidence": {},
            },
        ),
        (
            "quarantine",
            "refused_at",
            lambda n: {"timeframe": "5m", "reason": "no", "raw": str(n)},
        ),
    ):
        rows = [
            {
                "run_id": "run",
                "stock_code": chosen.choice(STOCKS),
                column: at(sometime(chosen)),
                **facts_of(number),
            }
            for number in range(60)
        ]
        insert(engine, table, *rows)


def ledger(engine, chosen):
    """The ticks of the last days, most of them in time."""
    runs, tasks = [], []
    for schedule in SCHEDULES:
        times = CronSim(schedule.cron, kst("2026-11-17 00:00"))
        while (fired := next(times)) < EVENING:
            if chosen.random() < 0.95:
                began = at(fired + timedelta(seconds=chosen.uniform(0, 3)))
                run_id = f"{schedule.name} {fired}"
                run = {"run_id": run_id, "message_id": "1", "trigger": {}}
                instants = {"requested_at": began, "written_at": began}
                runs.append({**run, **instants, "no_session": False})
                tasks += tasks_of(run_id, schedule, began, chosen)
    insert(engine, "runs", *runs)
    insert(engine, "tasks", *tasks)


def tasks_of(run_id, schedule, began, chosen):
    nothing = dict.fromkeys(
        ("attempts", "updated", "rejected", "revised", "withdrawn", "missing"), 0
    )
    for code in STOCKS:
        for frame in schedule.payload.get(
            "timeframes", [schedule.payload.get("timeframe")]
        ):
            requests = chosen.choice([0, 1, 1, 2])
            yield {
                "run_id": run_id,
                "stock_code": code,
                "timeframe": frame,
                "request": {},
                "state": chosen.choice(
                    ["done"] * 8 + ["incomplete", "no_data", "dead"]
                ),
                "requests": requests,
                "inserted": requests and chosen.randrange(3),
                "unchanged": requests and chosen.choice([0, 79, 599, 600, 900, 1700]),
                "started_at": began,
                "finished_at": began
                + timedelta(seconds=chosen.choice([1, 5, 60, 87, 93, 400])),
                "first_missing": [],
                **nothing,
            }


@pytest.fixture
def reading(database_url):
    """As the page connects: nothing can be written."""
    settings = DatabaseSettings(url=database_url, pool_size=2, read_only=True)
    engine = new_engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def make(engine_of):
    """Report as the function does, with its rights and no more."""
    engine = engine_of("daily_report")
    reports = DailyReports(engine, OFFSET)
    source = ReportStore(engine, OFFSET)

    def make(wanted=None, now=EVENING):
        return bring_up_to_date(wanted, reports, source, DueTimes(CALENDAR, TICKS), now)

    return make


def row_of(engine, wanted=FRIDAY):
    found = execute(engine, "SELECT * FROM daily_reports WHERE day = :day", day=wanted)
    return found.mappings().one()


def within(column, wanted=FRIDAY):
    """A condition: by the clock in Seoul, from 21:00 of the day before to 21:00."""
    seoul = f"(({column} + interval '{OFFSET}') AT TIME ZONE 'Asia/Seoul')"
    return (
        f"{seoul} >= date '{wanted - DAY}' + time '21:00' "
        f"AND {seoul} < date '{wanted}' + time '21:00'"
    )


def count(engine, table, column):
    return execute(
        engine, f"SELECT count(*) FROM {table} WHERE {within(column)}"
    ).scalar()


def test_what_was_recorded_is_what_sql_counts(engine, history, make):
    (outcome,) = make()
    row = row_of(engine)

    assert row["sealed"] == count(engine, "session_seals", "sealed_at") > 0
    assert row["revisions"] == count(engine, "revisions", "revised_at") > 0
    assert row["actions"] == count(engine, "corporate_actions", "detected_at") > 0
    assert row["quarantined"] == count(engine, "quarantine", "refused_at") > 0
    dead, requests, least = execute(
        engine,
        "SELECT count(*) FILTER (WHERE state = 'dead'), sum(requests),"
        " sum(CASE WHEN requests = 0 THEN 0"
        "          WHEN timeframe IN ('1d', '1w') THEN"
        "              greatest(1, (inserted + unchanged + 599) / 600)"
        "          ELSE greatest(1, (inserted + unchanged + 899) / 900) END)"
        f" FROM tasks WHERE {within('finished_at')}",
    ).one()
    assert (row["dead_tasks"], row["requests"]) == (dead, requests)
    assert row["least_requests"] == least
    assert dead > 0
    assert row["slowdown_total"] == 12.75
    assert row["slowdown_seconds"] is None
    assert abs(row["database_bytes"] / size(engine) - 1) < 0.1
    assert row["has_session"] is True
    assert row["made_at"] == at(EVENING)
    assert facts(outcome.report)["dead_tasks"] == dead


def size(engine):
    found = execute(engine, "SELECT pg_database_size(current_database())")
    return found.scalar()


def test_each_session_is_counted_as_its_slots_stand(engine, history, make):
    make()
    row = row_of(engine)

    totals = dict.fromkeys(("complete", "thin", "missing"), 0)
    for frame in FRAMES:
        sessions = execute(
            engine,
            "SELECT (slot AT TIME ZONE 'Asia/Seoul')::date AS day, stock_code,"
            " count(*) AS slots,"
            " count(*) FILTER (WHERE EXISTS (SELECT FROM candles WHERE"
            "   candles.stock_code = series.stock_code AND candles.timeframe = :frame"
            "   AND opened_at = slot)) AS candles,"
            " count(*) FILTER (WHERE EXISTS (SELECT FROM absent_slots AS absent WHERE"
            "   absent.stock_code = series.stock_code AND absent.timeframe = :frame"
            "   AND opened_at = slot)) AS absent"
            " FROM unnest(cast(:slots AS timestamptz[])) AS grid (slot)"
            " CROSS JOIN series WHERE timeframe = :frame GROUP BY 1, 2",
            frame=frame.value,
            slots=array(
                slot
                for each in CALENDAR.session_dates(FIRST, SETTLED)
                for slot in CALENDAR.slots(frame, each)
            ),
        ).all()
        told = row["timeframes"][frame.value]
        complete = sum(each.candles == each.slots for each in sessions)
        gaps = [each.slots - each.candles - each.absent for each in sessions]
        assert told["complete"] == complete > 0
        assert told["missing_sessions"] == sum(gap > 0 for gap in gaps)
        assert told["missing"] == sum(gaps)
        assert told["thin"] + told["no_trades"] == sum(
            each.candles < each.slots and not gap
            for each, gap in zip(sessions, gaps, strict=True)
        )
        totals["complete"] += complete
        totals["missing"] += sum(gaps)
        totals["thin"] += told["thin"] + told["no_trades"]
    assert {name: row[name] for name in totals} == totals
    assert all(totals.values())
    # One stock was not asked for since noon; and what was never loaded.
    never = 3 * len(STOCKS)
    assert row["late"] == len(FRAMES) + never
    assert row["timeframes"]["5m"]["late"] == 1


def test_due_times_are_counted_and_met_as_sql_says(engine, history, make):
    make()
    row = row_of(engine)

    since, until = EVENING - DAY * 30, kst("2026-11-20 21:00")
    due = [
        (frame.value, time)
        for frame in FRAMES
        for time in sorted(due_times(frame, since, until))
    ]
    wanted, met = execute(
        engine,
        "SELECT count(*), count(*) FILTER (WHERE EXISTS ("
        "   SELECT FROM tasks WHERE tasks.stock_code = series.stock_code"
        "   AND tasks.timeframe = series.timeframe"
        "   AND tasks.state IN ('done', 'no_data', 'incomplete')"
        "   AND started_at >= due.at AND finished_at <= due.at + interval '90 s'))"
        " FROM series JOIN unnest(cast(:frames AS text[]),"
        "   cast(:times AS timestamptz[])) AS due (timeframe, at) USING (timeframe)"
        f" WHERE loaded_on IS NULL OR loaded_on < ((due.at + interval '{OFFSET}')"
        " AT TIME ZONE 'Asia/Seoul')::date",
        frames=[frame for frame, _ in due],
        times=array(at(time) for _, time in due),
    ).one()

    assert (row["due"], row["due_met"]) == (wanted, met)
    assert 0 < met < wanted


def due_times(frame, since, until):
    """The first tick 90 seconds after each candle, and after each midnight."""
    found = set()
    for session in CALENDAR.session_dates(day("2026-09-15"), FRIDAY):
        ends = [candle_end(frame, slot) for slot in CALENDAR.slots(frame, session)]
        if not frame.minutes:
            last = CALENDAR.slots(Timeframe.MINUTE_5, session)[-1]
            ends = [candle_end(Timeframe.MINUTE_5, last)]
        ready = [end + timedelta(seconds=90) for end in ends]
        for instant in [*ready, midnight(session + DAY)]:
            found.add(next_tick(frame, instant))
    patience = timedelta(seconds=90)
    return {time for time in found if since - patience < time + patience <= until}


def next_tick(frame, instant):
    ticks = [
        schedule.cron
        for schedule, tick in zip(SCHEDULES, TICKS, strict=True)
        if frame in tick.timeframes
    ]
    before = instant.astimezone(KST) - timedelta(seconds=1)
    return min(next(CronSim(cron, before)) for cron in ticks)


def digest_of(engine, wanted=FRIDAY):
    rows = execute(
        engine,
        "SELECT stock_code, timeframe, session_date, candles, encode(digest, 'hex')"
        f" FROM session_seals WHERE {within('sealed_at', wanted)}",
    ).all()
    lines = sorted(
        (code, frame, session, n, seal) for code, frame, session, n, seal in rows
    )
    told = "".join(f"{','.join(map(str, line))}\n" for line in lines)
    return sha256(told.encode()).hexdigest()


def test_reports_are_a_chain_of_hashes(engine, history, make):
    make(now=kst("2026-11-18 21:15"))
    make(now=kst("2026-11-19 21:15"))
    make()

    previous = NO_REPORT
    for wanted in (FRIDAY - DAY * 2, FRIDAY - DAY, FRIDAY):
        row = row_of(engine, wanted)
        assert row["seals_digest"].hex() == digest_of(engine, wanted)
        assert row["previous"].hex() == previous
        told = f"{previous}\n{wanted}\n{row['seals_digest'].hex()}\n"
        assert row["chain"].hex() == sha256(told.encode()).hexdigest()
        previous = row["chain"].hex()
    store = DailyReports(engine, OFFSET)
    assert store.unlinked() == (3, [])
    assert all(stored.is_linked for stored in store.newest(5))


def test_a_page_of_reports_ends_before_its_day(engine, history, make):
    make(now=kst("2026-11-18 21:15"))
    make()
    store = DailyReports(engine, OFFSET)
    all_days = [FRIDAY - n * DAY for n in range(3)]

    days = [one.report.day for one in store.newest(5)]
    before = [one.report.day for one in store.newest(5, before=FRIDAY - DAY)]

    assert (days, before) == (all_days, all_days[2:])


def test_a_report_that_is_there_stays_as_it_is(engine, history, make):
    (first,) = make()
    before = dict(row_of(engine))
    execute(engine, "UPDATE rate_slots SET slowed_seconds = 99")

    (again,) = make(now=kst("2026-11-21 09:15"))

    assert dict(row_of(engine)) == before
    assert again.report == first.report
    assert again.since is not None
    assert (again.since.sealed_anew, again.since.is_same) == (0, True)
    assert not again.since.is_suspicious


def test_it_says_that_seals_were_written_again(engine, history, make):
    make()
    sealed = f"session_seals WHERE {within('sealed_at')}"
    execute(
        engine,
        "UPDATE session_seals SET sealed_at = :now WHERE ctid IN"
        f" (SELECT ctid FROM {sealed} LIMIT 2)",
        now=at(EVENING + DAY),
    )

    (again,) = make()

    assert (again.since.sealed_anew, again.since.is_same) == (2, False)
    assert not again.since.is_suspicious


def test_a_seal_that_something_else_has_changed_is_suspicious(engine, history, make):
    make()
    sealed = f"session_seals WHERE {within('sealed_at')}"
    execute(
        engine,
        "UPDATE session_seals SET candles = candles + 1 WHERE ctid ="
        f" (SELECT ctid FROM {sealed} LIMIT 1)",
    )

    (again,) = make()

    assert again.since.is_suspicious


def test_days_that_were_missed_are_made_up_for_in_their_order(engine, history, make):
    make(now=kst("2026-11-18 21:15"))
    execute(engine, "UPDATE rate_slots SET slowed_seconds = slowed_seconds + 1")

    made = make(now=kst("2026-11-22 09:15"))

    days = [outcome.report.day for outcome in made]
    assert days == [FRIDAY - DAY, FRIDAY, FRIDAY + DAY]
    assert [outcome.report.is_made_up for outcome in made] == [True, True, False]
    # Between two readings it is known how long, and not on which day.
    assert [outcome.report.slowdown_seconds for outcome in made] == [2.0, None, None]
    assert DailyReports(engine).unlinked() == (4, [])
    assert made[-1].report.summary.startswith("2026-11-21: the exchange was closed")


def test_a_break_in_the_chain_is_found(engine, history, make):
    make(now=kst("2026-11-18 21:15"))
    make()
    execute(
        engine,
        "UPDATE daily_reports SET seals_digest = sha256('x') WHERE day = :day",
        day=FRIDAY - DAY,
    )

    assert DailyReports(engine).unlinked() == (3, [FRIDAY - DAY])


def test_a_report_that_was_taken_out_is_missed(engine, history, make):
    make(now=kst("2026-11-18 21:15"))
    make()
    execute(engine, "DELETE FROM daily_reports WHERE day = :day", day=FRIDAY - DAY)

    assert DailyReports(engine).unlinked() == (2, [FRIDAY])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("2026-11-21", "is not over"), ("2026-11-18", "before the first report")],
)
def test_a_day_without_a_report_is_refused(history, make, wanted, said):
    make()

    with pytest.raises(MalformedMessage, match=said):
        make(day(wanted))


def test_until_21_00_a_day_is_not_over(engine, history, make):
    (outcome,) = make(now=kst("2026-11-20 20:59:59"))

    assert outcome.report.day == FRIDAY - DAY
    assert span(FRIDAY) == (kst("2026-11-19 21:00"), kst("2026-11-20 21:00"))


@pytest.mark.parametrize(
    "change", ["UPDATE daily_reports SET late = 0", "DELETE FROM daily_reports"]
)
def test_the_function_cannot_change_what_it_reported(engine_of, history, make, change):
    make()

    with pytest.raises(DatabaseMisconfigured, match="permission denied"):
        execute(engine_of("daily_report"), change)


def test_before_anything_is_loaded_there_is_a_report_too(engine, reference_data, make):
    (outcome,) = make()

    assert outcome.report.sealed.digest == sha256(b"").hexdigest()
    assert outcome.report.late > 0
    assert outcome.report.punctuality is None


def test_the_page_shows_what_is_stored(engine, reading, history, make):
    make(now=kst("2026-11-19 21:15"))
    make()
    services = Services(
        reports=ReportStore(reading, OFFSET),
        calendar=SessionStore(reading).calendar,
        ticks=TICKS,
        clock=lambda: EVENING,
    )
    client = new_app(services).test_client()

    told = client.get("/api/reports").get_json()["reports"]
    row = row_of(engine)

    assert [each["day"] for each in told] == ["2026-11-20", "2026-11-19"]
    same = {"requests", "least_requests", "due", "due_met", "late", "missing", "sealed"}
    assert {name: told[0][name] for name in same} == {name: row[name] for name in same}
    assert told[0]["chain"] == row["chain"].hex()
    assert told[0]["made_at"] == "2026-11-20T21:15:00+09:00"
    one = client.get("/api/reports/2026-11-20").get_json()
    assert (one["is_linked"], one["seals_are_same"]) == (True, True)
    page = client.get("/reports/2026-11-20?lang=en").text
    assert row["chain"].hex() in page
    assert f"{row['requests']:,}; {row['least_requests']:,} would have been" in page
    assert client.get("/reports").status_code == 200
    assert client.get("/reports/2026-11-18").status_code == 404
