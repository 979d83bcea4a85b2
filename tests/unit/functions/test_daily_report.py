"""Making the reports of days, with reports and facts in memory."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from functions.daily_report import main
from functions.daily_report.report import Outcome, bring_up_to_date, due_times
from shared.candles import Timeframe
from shared.daily_reports import NO_REPORT, Sealed, Since, StoredReport, Tally
from shared.errors import StaleSeries
from shared.events import Event
from shared.freshness import DueTimes, Tick
from shared.reports import SeriesCount, StockName, StockSeries
from shared.series import Series
from shared.sessions import DAY, Calendar
from shared.verdicts import SeriesFacts, SessionFacts
from tests.support.builders import CALENDAR, day, kst
from tests.support.reports import a_report

FRIDAY = day("2026-11-20")
EVENING = kst("2026-11-20 21:15")
M5, WEEK = Timeframe.MINUTE_5, Timeframe.WEEK_1
SETTLE = Tick.of("30 7 * * *", {"timeframes": ["5m", "30m", "60m", "1d", "1w"]})
# At 20:59 a tick has less than 90 seconds before the day of its report ends.
LATE = Tick.of("59 20 * * 1-5", {"timeframes": ["5m", "1w"]})
DUE = DueTimes(CALENDAR, [tick for tick in (SETTLE, LATE) if tick])


class Reports:
    """Reports of days, and what they are counted from."""

    def __init__(self, *stored):
        self.stored = list(stored)
        self.is_taken = False

    def newest(self, limit):
        return self.stored[-limit:]

    def of(self, day):
        return next((each for each in self.stored if each.report.day == day), None)

    def sealed(self, since, until):
        return Sealed(digest="ab" * 32, timeframes={M5: 7})

    def tally(self, since, until):
        return Tally()

    def punctuality(self, due, patience):
        return 0, 0

    def database_bytes(self):
        return 1

    def slowdown_total(self):
        return 3.0

    def write(self, report):
        if self.is_taken:
            return False
        self.stored.append(
            StoredReport(report=report, chain=report.chain, is_linked=True)
        )
        return True


class Facts:
    """One series of five minutes: a session that is complete, and one under way."""

    def counts(self, due):
        return {M5: SeriesCount(total=30, late=2)}

    def series(self, timeframes, behind, codes=None):
        if timeframes != [M5]:
            return []
        thursday = FRIDAY - DAY
        proofs = Series(
            covered_from=thursday, oldest=thursday, settled_through=thursday
        )
        facts = SeriesFacts(series=proofs, asked_at=EVENING)
        stock = StockName(code="005930", name="삼성전자")
        return [StockSeries(stock=stock, timeframe=M5, facts=facts)]

    def sessions(self, *_):
        full = SessionFacts(len(CALENDAR.slots(M5, FRIDAY - DAY)))
        return {"005930": {FRIDAY - DAY: full}}

    def marks(self, *_):
        return {}


def made(reports, wanted=None):
    return bring_up_to_date(wanted, reports, Facts(), DUE, EVENING)


def test_a_report_counts_series_and_sessions_by_timeframe():
    (outcome,) = made(Reports())
    frames = {frame.timeframe: frame for frame in outcome.report.frames}

    frame = frames[M5]
    assert (frame.series, frame.late, frame.sealed) == (30, 2, 7)
    assert (frame.complete, frame.provisional) == (1, 1)
    assert frames[WEEK] == replace(frames[WEEK], series=0, late=0, sealed=0, complete=0)
    assert outcome.report.previous == NO_REPORT


def test_a_report_is_chained_to_what_is_stored_of_the_day_before():
    changed = StoredReport(
        report=a_report(day=FRIDAY - DAY, slowdown_total=1.0),
        chain="cd" * 32,
        is_linked=False,
    )

    (outcome,) = made(Reports(changed))

    assert outcome.report.previous == changed.chain
    assert outcome.report.slowdown_seconds == 2.0


def test_of_two_instances_that_make_a_report_one_gives_up():
    reports = Reports()
    reports.is_taken = True

    with pytest.raises(StaleSeries, match="2026-11-20"):
        made(reports)


def test_what_is_due_has_its_time_before_the_day_ends():
    found = due_times(DUE, FRIDAY)[M5]

    assert found[-1] == kst("2026-11-20 07:30")
    # A month ago the day had ended at 21:00 as well.
    assert found[0] == kst("2026-10-21 20:59")


def test_the_week_in_which_the_thirty_days_begin_is_due_at_its_end():
    assert due_times(DUE, FRIDAY)[WEEK][:2] == [
        kst("2026-10-23 20:59"),
        kst("2026-10-24 07:30"),
    ]


def test_where_the_calendar_has_just_begun_what_is_known_is_due():
    monday = day("2026-11-16")
    known = {each: hours for each, hours in CALENDAR.sessions.items() if each >= monday}
    due = DueTimes(Calendar(known, monday, CALENDAR.last), [SETTLE] if SETTLE else [])

    assert due_times(due, FRIDAY)[M5][0] == kst("2026-11-17 07:30")


@pytest.mark.parametrize(
    ("since", "event", "severity"),
    [
        (None, Event.DAILY_REPORT, None),
        (Since(sealed_anew=0, is_same=True), Event.REPORT_KEPT, logging.INFO),
        (Since(sealed_anew=2, is_same=False), Event.REPORT_KEPT, logging.INFO),
        (Since(sealed_anew=0, is_same=False), Event.REPORT_KEPT, logging.WARNING),
    ],
)
def test_each_report_is_one_line_and_a_suspicious_one_a_warning(
    monkeypatch, since, event, severity
):
    lines = []

    def log_event(event, **facts):
        lines.append((event, facts))

    monkeypatch.setattr(main, "log_event", log_event)
    report = a_report()

    main._tell(Outcome(report=report, since=since))

    ((told, facts),) = lines
    assert (told, facts.get("severity")) == (event, severity)
    assert (facts["day"], facts["chain"]) == ("2026-11-20", report.chain)
    if since is None:
        assert facts["is_made_up"] is False
        assert report.figures.items() <= facts.items()
    else:
        assert facts["sealed_anew"] == since.sealed_anew
