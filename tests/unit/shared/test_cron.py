"""When schedules fire: as every cron says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from infra import topology
from shared.cron import Cron
from tests.support.builders import kst

CRONS = sorted({each.cron for each in topology.load().schedules.values()})
MINUTES = st.integers(0, 3 * 366 * 24 * 60)


@given(
    st.sampled_from([*CRONS, "0 0 1,15 * 1", "*/7 3-5/2 * 2 0,7", "5/20 22 31 * *"]),
    MINUTES,
)
def test_it_fires_when_the_local_scheduler_does(text, minutes):
    since = kst("2026-01-01 00:00") + timedelta(minutes=minutes, seconds=30)

    assert Cron.parse(text).at_or_after(since) == next(CronSim(text, since))


def test_a_firing_counts_at_its_own_instant():
    cron = Cron.parse("*/5 9-20 * * 1-5")

    assert cron.at_or_after(kst("2026-11-20 10:35")) == kst("2026-11-20 10:35")


def test_an_instant_in_another_zone_is_the_same_instant():
    cron = Cron.parse("30 7 * * *")
    utc = kst("2026-11-20 07:00").astimezone(tz=None)

    assert cron.at_or_after(utc) == kst("2026-11-20 07:30")


def test_a_day_that_never_comes_ends_the_search():
    assert Cron.parse("0 0 31 2 *").at_or_after(kst("2026-11-20")) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("* * * *", "not a cron expression of 5 fields"),
        ("60 * * * *", "'60' is not a minute from 0 to 59"),
        ("* 9-8 * * *", "'9-8' is not a hour from 0 to 23"),
        ("* * 0 * *", "'0' is not a day of month from 1 to 31"),
        ("* * * JAN *", "'JAN' is not a month from 1 to 12"),
        ("*/0 * * * *", "'\\*/0' is not a minute"),
        ("1, * * * *", "'' is not a minute"),
    ],
)
def test_what_is_no_cron_is_refused_with_its_field(text, problem):
    with pytest.raises(ValueError, match=problem):
        Cron.parse(text)
