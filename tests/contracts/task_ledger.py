"""What every ledger of tasks does; see ``TaskLedger``."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.candles import RejectedRow
from shared.errors import (
    AttemptsExhausted,
    Busy,
    KiwoomRejected,
    KiwoomUnavailable,
    StaleSeries,
    TokenRejected,
    UnknownTask,
)
from shared.pages import Page, PageChain
from shared.series import Series
from tests.contracts.candle_store import collected
from tests.support.builders import a_candle, a_request, day, kst

ANCHOR = day("2026-11-20")
UNAVAILABLE = KiwoomUnavailable("HTTP 500")
READ_AT = kst("2026-11-20 21:00")
NEWEST = Page(candles=(a_candle("2026-11-20"), a_candle("2026-11-19")), cursor="A1")
SECOND = Page(
    candles=(a_candle("2026-11-18"),),
    rejected=(
        RejectedRow(
            reason="high below low", raw='{"dt": "1"}', opened_at=kst("2026-11-17")
        ),
        RejectedRow(reason="no such day", raw="{}", spoilt=False),
    ),
    cursor="A2",
)


def a_chain(*pages, anchor=ANCHOR, read_at=READ_AT):
    return PageChain(anchor=anchor, read_at=read_at, pages=pages)


class TaskLedgerContract:
    """The fixture ``data`` has a ``ledger`` (three attempts a task) and its ``store``.

    ``open(request)`` writes a task down, ``expire(request)`` lets the lease run out.
    """

    def staged(self, data, *chains, request=None, error=UNAVAILABLE):
        """The chains that the next attempt finds after one that staged these."""
        request = request or data.open(a_request())
        with pytest.raises(type(error)), data.ledger.attempt(request) as attempt:
            for chain in chains:
                data.ledger.renew_lease(attempt, [chain])
            raise error
        with pytest.raises(Busy), data.ledger.attempt(request) as attempt:
            found = attempt.chains
            raise Busy("not now")
        return found

    def test_a_task_that_was_never_written_down_is_refused(self, data):
        with pytest.raises(UnknownTask), data.ledger.attempt(a_request()):
            pytest.fail("the attempt began")

    def test_a_new_series_is_known_by_nothing(self, data):
        with data.ledger.attempt(data.open(a_request())) as attempt:
            assert attempt.series == Series()
            assert (attempt.listed, attempt.halted) == (True, False)
            assert (attempt.known_from, attempt.moved_on) == (None, None)
            assert (attempt.requests, attempt.chains) == (0, ())

    def test_only_one_works_at_a_series_at_a_time(self, data):
        first = data.open(a_request())
        second = data.open(a_request(run_id="run-2"))
        other = data.open(a_request("1w"))

        with (
            pytest.raises(KiwoomUnavailable),
            data.ledger.attempt(first),
            data.ledger.attempt(other),
        ):
            for request in (first, second):
                with pytest.raises(Busy), data.ledger.attempt(request):
                    pytest.fail("a second attempt began")
            raise KiwoomUnavailable("HTTP 500")
        with data.ledger.attempt(second) as attempt:
            assert attempt

    def test_requests_of_all_attempts_are_counted(self, data):
        request = data.open(a_request())
        with pytest.raises(KiwoomUnavailable), data.ledger.attempt(request) as attempt:
            attempt.requests += 3
            raise KiwoomUnavailable("HTTP 500")

        with data.ledger.attempt(request) as attempt:
            assert attempt.requests == 3

    def test_pages_that_were_staged_are_there_for_the_next_attempt(self, data):
        chain = a_chain(NEWEST, SECOND)

        assert self.staged(data, a_chain(NEWEST), chain) == (chain,)

    def test_chains_of_several_anchors_are_told_apart(self, data):
        older = a_chain(SECOND, anchor=day("2026-11-18"))

        found = self.staged(data, a_chain(NEWEST), older)

        assert found == (older, a_chain(NEWEST))

    def test_a_chain_that_was_begun_anew_takes_the_place_of_the_old_one(self, data):
        """Never its old pages and the new ones together: that would be a hole."""
        anew = a_chain(NEWEST, read_at=READ_AT + timedelta(minutes=11))

        assert self.staged(data, a_chain(NEWEST, SECOND), anew) == (anew,)

    def test_pages_are_those_of_their_task(self, data):
        request = data.open(a_request(run_id="run-2"))
        self.staged(data, a_chain(NEWEST))

        with data.ledger.attempt(request) as attempt:
            assert attempt.chains == ()

    def test_a_postponed_attempt_keeps_its_pages(self, data):
        found = self.staged(data, a_chain(NEWEST), error=Busy("the queue is long"))

        assert found == (a_chain(NEWEST),)

    def test_what_led_to_a_refusal_is_not_built_upon(self, data):
        refusal = KiwoomRejected("ka10081", "1511", "base_dt")

        assert self.staged(data, a_chain(NEWEST), error=refusal) == ()

    def test_the_pages_of_a_finished_task_are_gone(self, data):
        request = data.open(a_request())
        with data.ledger.attempt(request) as attempt:
            data.ledger.renew_lease(attempt, [a_chain(NEWEST)])
            stored = data.store.store(attempt, collected(data))

        assert stored.state == "done"
        with data.ledger.attempt(request) as attempt:
            assert attempt is None

    def test_an_incomplete_task_is_finished_too(self, data):
        request = data.open(a_request())
        with data.ledger.attempt(request) as attempt:
            missing = collected(data, expected=(kst("2026-11-13"),))
            assert data.store.store(attempt, missing).state == "incomplete"

        with data.ledger.attempt(request) as attempt:
            assert attempt is None

    def test_a_lease_that_was_lost_cannot_be_renewed(self, data):
        request = data.open(a_request())
        with pytest.raises(StaleSeries), data.ledger.attempt(request) as attempt:
            data.expire(request)
            with data.ledger.attempt(request):
                data.ledger.renew_lease(attempt, [a_chain(NEWEST)])

    def test_a_task_that_fails_too_often_is_dead(self, data):
        request = data.open(a_request())

        for error in (KiwoomUnavailable, KiwoomUnavailable, AttemptsExhausted):
            with pytest.raises(error), data.ledger.attempt(request):
                raise KiwoomUnavailable("HTTP 500")

    @pytest.mark.parametrize("error", [Busy("later"), TokenRejected("rejected", "7")])
    def test_an_attempt_that_was_postponed_is_not_counted(self, data, error):
        request = data.open(a_request())

        for _ in range(9):
            with pytest.raises(type(error)), data.ledger.attempt(request):
                raise error

    def test_a_bug_is_a_failure_like_others_and_is_not_hidden(self, data):
        request = data.open(a_request())

        with pytest.raises(ZeroDivisionError), data.ledger.attempt(request):
            raise ZeroDivisionError

        with data.ledger.attempt(request) as attempt:
            assert attempt
