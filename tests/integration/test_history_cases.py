"""The cases in which history once went wrong, each with what is right.

Every test ends before the judge, who compares all rows with the broker's.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

from infra.local.broker.faults import How
from shared.errors import KiwoomUnavailable, PermanentError, TransientError
from tests.support.builders import day, kst
from tests.support.harness import ALL, STOCK, PipelineHarness

START = {"5m": "2026-11-02", "30m": "2026-10-12", "60m": "2026-09-01"}
START |= {"1d": "2024-03-04", "1w": "2020-01-06"}
SIZES = {"1d": 600, "1w": 600, "5m": 900, "30m": 900, "60m": 900}
# A Monday evening; its session settles on Tuesday morning.
EVENING, MORNING = "2026-11-16 20:45", "2026-11-17 07:30"


@pytest.fixture
def harness(engine):
    return PipelineHarness(engine, EVENING)


def load(harness, *timeframes):
    """Everything of one stock until Monday, settled on Tuesday morning."""
    for timeframe in timeframes or ALL:
        harness.tick(timeframe, start=START[timeframe])
    harness.at(MORNING)
    harness.tick(*(timeframes or ALL))
    return harness


def tick_at(harness, now, *timeframes, **fields):
    """A tick at an instant, and what follows from it."""
    harness.at(now)
    return harness.tick(*timeframes, **fields)


def right(harness):
    """Whether every row is what the broker has."""
    wrong = harness.judge().wrong
    assert wrong == []
    return True


def persist(harness):
    """Deliver what is queued as Pub/Sub does, until nothing is left."""
    for _ in range(30):
        if not harness.queue:
            return
        message = harness.queue.popleft()
        try:
            harness.deliver(message)
        except (TransientError, PermanentError):
            harness.queue.append(message)


def triggered(harness, *timeframes, **fields):
    """A trigger whose requests may fail on the way."""
    harness.trigger(timeframes, **fields)
    persist(harness)
    return harness


def counted(harness, action):
    """How many requests something costs."""
    before = harness.asked()
    action()
    return harness.asked() - before


# The price basis has four verdicts.


@pytest.mark.parametrize(
    ("changes", "ratio"),
    [({"high": 500}, 5.0), ({"close": 1}, 0.1), ({"close": -1}, 1.3)],
    ids=["split", "reduction", "bonus issue"],
)
def test_a_correction_in_the_night_before_an_action(harness, changes, ratio):
    load(harness)
    harness.corrects("1d", "2026-11-16", changes, since="2026-11-18 03:00")
    harness.corrects("5m", "2026-11-16 11:00", changes, since="2026-11-18 03:00")
    tick_at(harness, "2026-11-17 20:45")
    harness.acts(STOCK, "2026-11-18", ratio)

    tick_at(harness, "2026-11-18 20:45")

    assert right(harness)


@pytest.mark.parametrize("at", ["2026-11-17 19:55", "2026-11-17 09:00"])
def test_one_corrected_minute_neither_hides_nor_fakes_an_action(harness, at):
    load(harness, "5m")
    tick_at(harness, "2026-11-17 20:45", "5m")
    harness.corrects("5m", at, {"high": 900}, since="2026-11-18 03:00")
    tick_at(harness, "2026-11-18 07:30", "5m")
    assert harness.query("SELECT * FROM corporate_actions") == []

    harness.acts(STOCK, "2026-11-18", 5.0)
    tick_at(harness, "2026-11-18 10:00", "5m")

    assert right(harness)


@pytest.mark.parametrize("how", list(How))
def test_the_row_of_the_overlap_is_spoilt_while_an_action_is_found(harness, how):
    load(harness)
    harness.acts(STOCK, "2026-11-18", 5.0)
    tick_at(harness, "2026-11-17 20:45")
    for opens in ("2026-11-16", "2026-11-16 19:55", "2026-11-09"):
        harness.fails("corrupt", opens=kst(opens), how=how, times=1)

    harness.at("2026-11-18 20:45")
    triggered(harness, *ALL)
    harness.recovers()

    assert right(harness)


@pytest.mark.parametrize("kind", ["missing", "spoilt"])
@pytest.mark.parametrize("timeframe", ["1d", "60m"])
def test_the_overlap_of_a_backfill_is_missing_or_spoilt(harness, kind, timeframe):
    oldest = {"1d": "2026-06-01", "60m": "2026-09-01 09:00"}[timeframe]
    harness.at(MORNING)
    harness.acts(STOCK, "2026-10-20", 5.0)
    harness.tick(timeframe, start=oldest[:10])
    if kind == "missing":
        harness.query("DELETE FROM candles WHERE opened_at = :at", at=kst(oldest))
    else:
        harness.fails("corrupt", opens=kst(oldest), times=2)

    deeper = {"1d": "2026-01-05", "60m": "2026-06-01"}[timeframe]
    triggered(harness, timeframe, mode="backfill", start=deeper)
    harness.recovers()
    triggered(harness, timeframe, mode="repair")

    assert right(harness)


def test_a_broker_that_adjusts_recent_days_first(harness):
    load(harness)
    schedule = {"recent_days": 30, "rest_from": "2026-11-19 06:00"}
    harness.acts(STOCK, "2026-11-18", 5.0, **schedule)
    tick_at(harness, "2026-11-17 20:45")

    for now in ("2026-11-18 20:45", "2026-11-19 07:30", "2026-11-19 20:45"):
        harness.at(now)
        triggered(harness, *ALL)

    assert right(harness)


@pytest.mark.parametrize("shown_from", ["2026-11-18 21:30", "2026-11-19 07:00"])
def test_a_broker_that_adjusts_only_after_our_evening_tick(harness, shown_from):
    load(harness)
    harness.acts(STOCK, "2026-11-18", 5.0, shown_from=shown_from)
    tick_at(harness, "2026-11-17 20:45")

    for now in ("2026-11-18 20:45", "2026-11-19 07:30", "2026-11-19 20:45"):
        harness.at(now)
        triggered(harness, *ALL)

    assert right(harness)


def test_a_broker_that_adjusts_each_timeframe_at_its_own_time(harness):
    load(harness)
    late = {"1w": "2026-11-19 06:00", "5m": "2026-11-18 21:30"}
    harness.acts(STOCK, "2026-11-18", 2.0, shown_from=late)
    tick_at(harness, "2026-11-17 20:45")

    for now in ("2026-11-18 20:45", "2026-11-19 07:30", "2026-11-19 20:45"):
        harness.at(now)
        triggered(harness, *ALL)

    assert right(harness)


# Small ratios at low prices.


@pytest.mark.parametrize(
    ("level", "ratio"),
    [(50, 1.01), (50, 1 / 1.01), (216, 1.005), (216, 1 / 1.005), (300, 0.997)],
)
def test_a_small_ratio_at_a_low_price_is_found(engine, level, ratio):
    harness = load(PipelineHarness(engine, EVENING, levels={STOCK: level}))
    tick_at(harness, "2026-11-17 20:45")
    harness.acts(STOCK, "2026-11-18", ratio)

    tick_at(harness, "2026-11-18 20:45")

    assert right(harness)


# What is proven in one timeframe is known in all.


@pytest.mark.parametrize("finder", ALL)
def test_what_one_timeframe_has_proven_moves_all(harness, finder):
    load(harness)
    harness.acts(STOCK, "2026-11-18", 5.0)
    for timeframe, at in (("1d", "2026-11-16"), ("5m", "2026-11-16 19:55")):
        harness.corrects(timeframe, at, {"high": 700}, since="2026-11-17 12:00")

    tick_at(harness, "2026-11-18 20:45", finder)

    assert right(harness)


def test_timeframes_that_find_an_action_together_ask_for_one_rebuild_each(harness):
    load(harness)
    harness.acts(STOCK, "2026-11-17", 5.0)
    harness.at("2026-11-17 20:45")
    harness.trigger(ALL)
    first = [harness.queue.popleft() for _ in ALL]

    for message in first:
        harness.deliver(message)
    harness.work()

    ((rebuilds,),) = harness.query(
        "SELECT count(*) FROM tasks WHERE request ->> 'mode' = 'rebuild'"
    )
    assert rebuilds <= len(ALL) - 1
    # It was requested when the action was found, not when that took effect.
    found_at = "SELECT requested_at >= '2026-11-17 20:45+09' FROM runs"
    assert harness.query(f"{found_at} WHERE trigger ->> 'mode' = 'rebuild'") == [
        (True,)
    ]
    assert right(harness)


def test_one_corrected_minute_does_not_stop_the_rescaling_of_what_is_gone(engine):
    harness = PipelineHarness(engine, "2026-10-30 20:45")
    harness.tick("60m", start="2025-11-10")
    harness.tick("1d", start="2025-11-10")
    harness.corrects("60m", "2026-06-09 10:00", {"high": 800}, since="2027-01-03 09:00")
    harness.acts(STOCK, "2027-01-04", 5.0)

    tick_at(harness, "2027-01-04 20:45", "60m", "1d")

    assert right(harness)


def test_a_reduction_in_a_halt_so_long_that_no_minute_is_in_common(engine):
    halt = {STOCK: (day("2025-07-01"), day("2026-11-13"))}
    harness = PipelineHarness(engine, "2025-07-01 07:30", halts=halt)
    for timeframe, start in (("60m", "2025-03-03"), ("1d", "2025-01-02")):
        harness.tick(timeframe, start=start, force=True)
    before = harness.stored("60m")
    harness.acts(STOCK, "2026-08-03", 0.1)

    for now in ("2026-11-16 20:45", "2026-11-17 07:30"):
        harness.at(now)
        triggered(harness, "60m", "1d")

    assert right(harness)
    stored = harness.stored("60m")
    assert all(stored[at][3] == values[3] * 10 for at, values in before.items())


# A blank, cut or non-advancing answer is never an end.


@pytest.mark.parametrize("timeframe", ["1d", "5m"])
@pytest.mark.parametrize(
    "kind", ["blank", "empty", "unmarked", "stall", "restart", "last"]
)
@pytest.mark.parametrize("page", [1, 2])
def test_an_answer_that_proves_nothing_costs_no_history(harness, timeframe, kind, page):
    harness.at(MORNING)
    harness.fails(kind, page=page, times=1)

    triggered(harness, timeframe, start=START[timeframe])
    harness.recovers()
    triggered(harness, timeframe)
    triggered(harness, timeframe, mode="backfill", start=START[timeframe])

    assert right(harness)
    assert harness.stored(timeframe) == harness.truth(timeframe, START[timeframe])


def test_a_short_page_that_says_last_is_no_end_the_next_day(harness):
    harness.at(MORNING)
    harness.fails("last", rows=100, times=1)
    triggered(harness, "1d", start=START["1d"])
    harness.recovers()

    harness.at("2026-11-18 07:30")
    triggered(harness, "1d", mode="backfill", start=START["1d"])
    triggered(harness, "1d", mode="repair")

    assert harness.stored("1d") == harness.truth("1d", START["1d"])


@pytest.mark.parametrize("kind", ["blank", "empty"])
def test_a_blank_answer_to_a_repair_marks_nothing_as_absent(harness, kind):
    load(harness, "5m")
    lost = "opened_at BETWEEN '2026-11-04 00:00+00' AND '2026-11-06 00:00+00'"
    harness.query(f"DELETE FROM candles WHERE {lost}")
    harness.fails(kind)
    triggered(harness, "5m", mode="repair")
    harness.recovers()
    persist(harness)
    assert harness.query("SELECT count(*) FROM absent_slots") == [(0,)]

    triggered(harness, "5m", mode="repair")

    assert right(harness)


def test_what_was_blank_while_delisted_comes_back_with_the_relisting(harness):
    load(harness, "1d", "5m")
    harness.query("DELETE FROM candles WHERE opened_at = :at", at=kst("2026-11-04"))
    harness.delists("2026-11-18 06:00", "2026-11-23 06:00")
    for now in ("2026-11-18 20:45", "2026-11-20 20:45"):
        harness.at(now)
        triggered(harness, "1d", "5m")
        triggered(harness, "1d", "5m", mode="repair")

    harness.at("2026-11-24 20:45")
    triggered(harness, "1d", "5m")
    persist(harness)
    triggered(harness, "1d", "5m", mode="repair")
    tick_at(harness, "2026-11-25 07:30", "1d", "5m")

    assert right(harness)


def test_an_absence_is_asked_for_again_after_some_weeks_or_by_force(harness):
    harness.at(MORNING)
    harness.fails("cut", row=200, rows=3, times=1)
    harness.tick("5m", start=START["5m"])
    harness.recovers()

    triggered(harness, "5m", mode="repair", start=START["5m"], force=True)

    assert right(harness)


# A row that came spoilt is asked for once more.


@pytest.mark.parametrize("timeframe", ["1d", "1w", "5m"])
@pytest.mark.parametrize("how", list(How))
def test_a_row_that_is_spoilt_once_is_whole_after_the_first_load(
    harness, timeframe, how
):
    harness.at(MORNING)
    fault = harness.fails("corrupt", row=5, how=how, times=1)
    start = START[timeframe]

    harness.tick(timeframe, start=start)

    assert fault.shown == 1
    assert harness.stored(timeframe) == harness.truth(timeframe, start)


def test_what_stays_spoilt_is_missing_and_not_absent(harness):
    harness.at(MORNING)
    harness.fails("corrupt", opens=kst("2026-11-04 10:30"))

    triggered(harness, "5m", start=START["5m"])

    assert harness.query("SELECT count(*) > 0 FROM quarantine") == [(True,)]
    assert harness.query("SELECT count(*) FROM absent_slots") == [(0,)]
    states = harness.query("SELECT state, first_missing FROM run_states")
    assert states == [("incomplete", kst("2026-11-04 10:30"))]
    harness.recovers()
    triggered(harness, "5m", mode="repair")
    assert right(harness)


# The rows of a page are all used.


@pytest.mark.parametrize("changes", [{"close": 1}, {"high": 900}, {"volume": 3}])
def test_a_late_correction_is_a_revision_at_no_request(harness, changes):
    load(harness, "1d", "5m")
    harness.corrects("1d", "2026-10-27", changes, since="2026-11-17 09:00")
    harness.corrects("5m", "2026-11-13 10:00", changes, since="2026-11-17 09:00")

    asked = counted(harness, lambda: tick_at(harness, "2026-11-17 20:45", "1d", "5m"))

    assert asked == 2
    assert right(harness)
    revised = harness.query("SELECT timeframe FROM revisions ORDER BY timeframe")
    assert revised == [("1d",), ("5m",)]


# What the broker takes back goes away.


@pytest.mark.parametrize(
    ("timeframe", "at"),
    [
        ("1d", "2026-11-10"),
        ("5m", "2026-11-13 10:00"),
        ("60m", "2026-11-13 10:00"),
        ("1w", "2026-11-02"),
    ],
)
def test_a_settled_candle_that_is_taken_back_leaves_to_the_revisions(
    harness, timeframe, at
):
    load(harness, timeframe)
    harness.withdraws(timeframe, at, since="2026-11-17 09:00", alone=True)

    tick_at(harness, "2026-11-17 20:45", timeframe)
    triggered(harness, timeframe, mode="verify", start=START[timeframe])

    assert right(harness)
    revised = harness.query("SELECT opened_at, withdrawn FROM revisions")
    assert revised == [(kst(at), True)]


def test_a_phantom_of_today_vanishes(harness):
    load(harness, "1d", "5m")
    harness.invents("5m", "2026-11-17 15:20", until="2026-11-17 16:00")
    tick_at(harness, "2026-11-17 15:45", "1d", "5m")
    assert kst("2026-11-17 15:20") in harness.stored("5m")

    tick_at(harness, "2026-11-17 20:45", "1d", "5m")

    assert right(harness)
    assert harness.query("SELECT * FROM revisions") == []


def test_a_phantom_day_vanishes(harness):
    # The stock did not trade on that day, whatever the broker says for a while.
    harness.withdraws("1d", "2026-11-17", since="2026-11-18 03:00", alone=True)
    load(harness, "1d")
    tick_at(harness, "2026-11-17 20:45", "1d")
    assert kst("2026-11-17") in harness.stored("1d")

    tick_at(harness, "2026-11-18 07:30", "1d")
    tick_at(harness, "2026-11-18 20:45", "1d")

    assert right(harness)


def test_a_week_that_was_dated_by_another_day_is_one_candle(harness):
    harness.redates("2026-11-16", "2026-11-17", until="2026-11-18 12:00")
    load(harness, "1w", "1d")
    for now in ("2026-11-17 20:45", "2026-11-18 20:45", "2026-11-19 07:30"):
        tick_at(harness, now, "1w", "1d")

    assert right(harness)


def test_a_settled_week_that_is_dated_anew_is_one_candle(harness):
    harness.redates("2026-11-09", "2026-11-10", until="2026-11-18 12:00")
    load(harness, "1w")
    for now in ("2026-11-17 20:45", "2026-11-18 20:45", "2026-11-19 07:30"):
        tick_at(harness, now, "1w")

    assert right(harness)


# Verify, and force.


CHANGE = "UPDATE candles SET close = low, volume = volume + 1"
REMOVE = "DELETE FROM candles"
# On a Saturday.
ADD = (
    "INSERT INTO candles SELECT stock_code, timeframe, '2026-11-07 01:00+00',"
    " open, high, low, close, volume, turnover, session FROM candles"
)


@pytest.mark.parametrize("timeframe", ALL)
@pytest.mark.parametrize(
    "statement", [CHANGE, REMOVE, ADD], ids=["changed", "removed", "added"]
)
def test_a_verify_heals_what_was_done_to_the_database(harness, timeframe, statement):
    if statement.startswith("INSERT") and timeframe in {"1d", "1w"}:
        statement = statement.replace("07 01:00", "06 15:00")
    load(harness, timeframe)
    harness.query(
        f"{statement} WHERE opened_at = (SELECT opened_at FROM candles"
        " WHERE opened_at < '2026-11-10' ORDER BY opened_at DESC OFFSET 30 LIMIT 1)"
    )

    triggered(harness, timeframe, mode="verify", start=START[timeframe])

    assert right(harness)


def test_a_verify_finds_the_correction_of_an_old_day(harness):
    load(harness, "1d")
    harness.corrects("1d", "2024-04-08", {"close": -1}, since="2026-11-17 09:00")
    harness.withdraws("1d", "2024-05-10", since="2026-11-17 09:00")
    harness.at("2026-11-18 07:30")
    harness.tick("1d")

    triggered(harness, "1d", mode="verify", start=START["1d"])

    assert right(harness)
    assert harness.query("SELECT count(*) FROM revisions") == [(2,)]


def test_force_forgets_that_history_has_ended(harness):
    harness.at(MORNING)
    harness.fails("last", rows=300)
    triggered(harness, "1d", start=START["1d"])
    harness.at("2026-11-18 07:30")
    triggered(harness, "1d", mode="backfill", start=START["1d"])
    harness.recovers()

    triggered(harness, "1d", mode="backfill", start=START["1d"], force=True)

    assert harness.stored("1d") == harness.truth("1d", START["1d"])


# Settled means final.


def test_a_session_is_settled_by_the_tick_of_the_next_morning(harness):
    for timeframe in ALL:
        harness.tick(timeframe, start=START[timeframe])
    settled = "SELECT DISTINCT settled_through FROM series WHERE timeframe <> '1w'"
    assert harness.query(settled) == [(day("2026-11-13"),)]

    tick_at(harness, MORNING)

    assert harness.query(settled) == [(day("2026-11-16"),)]
    assert right(harness)
    assert harness.query("SELECT * FROM revisions") == []


def test_a_week_of_ordinary_ticks_makes_no_revision(harness):
    load(harness)
    for date in ("11-17", "11-18", "11-19", "11-20"):
        for clock in ("07:30", "10:02", "15:45", "20:45"):
            tick_at(harness, f"2026-{date} {clock}")
    tick_at(harness, "2026-11-21 07:30")

    assert right(harness)
    assert harness.query("SELECT * FROM revisions") == []


def test_an_outage_on_friday_evening_is_healed_on_saturday_morning(harness):
    load(harness)
    for date in ("11-17", "11-18", "11-19"):
        tick_at(harness, f"2026-{date} 20:45")

    tick_at(harness, "2026-11-21 07:30")

    assert right(harness)
    settled = harness.query("SELECT DISTINCT settled_through FROM series")
    assert settled == [(day("2026-11-20"),)]


# Staged pages are one chain.


@pytest.mark.parametrize("minutes", [1, 11, 12 * 60])
@pytest.mark.parametrize("pages", [(4, 6), (6, 4), (2, 3, 5)])
def test_failed_attempts_leave_no_hole_whenever_they_fall(harness, pages, minutes):
    harness.at(MORNING)
    harness.trigger(["5m"], start="2026-08-03")
    (message,) = harness.queue
    for page in pages:
        harness.fails("server_error", page=page)
        # A page that an earlier attempt has left is not requested again.
        with suppress(KiwoomUnavailable):
            harness.deliver(message)
        harness.recovers()
        harness.now += timedelta(minutes=minutes)

    harness.deliver(message)

    assert right(harness)


# Requests stay minimal.


def test_clean_runs_cost_the_least_pages(harness):
    harness.at(MORNING)
    for timeframe in ALL:
        asked = counted(harness, lambda t=timeframe: harness.tick(t, start=START[t]))
        rows = len(harness.truth(timeframe, START[timeframe]))
        assert asked == -(-rows // SIZES[timeframe]), timeframe

    assert counted(harness, harness.tick) == 0
    assert counted(harness, lambda: tick_at(harness, "2026-11-17 20:45")) == len(ALL)
    assert counted(harness, lambda: tick_at(harness, "2026-11-18 07:30")) == len(ALL)
    assert counted(harness, lambda: harness.tick(mode="repair")) == 0
    assert right(harness)
