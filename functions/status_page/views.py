"""What the API says, as values of JSON: instants in Seoul, days as dates."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from functions.status_page.triggers import verify_of
from shared.reports import Mark
from shared.session_map import NOTHING
from shared.sessions import KST
from shared.verdicts import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from functions.status_page.explain import (
        SeriesReport,
        SessionReport,
        SlotMap,
        SlotReport,
        SlotVerdict,
    )
    from functions.status_page.status import Overview, Problem, Tile
    from shared.daily_reports import Since, StoredReport
    from shared.reports import (
        BrokenSeal,
        History,
        RunDetail,
        RunRow,
        Seal,
        StockSeries,
        TaskError,
    )
    from shared.session_map import Coverage
    from shared.verdicts import Verdict

STATES = {state.value: state.name.lower() for state in State}


def seoul(instant: datetime | None) -> str | None:
    """An instant with Seoul's offset, to the second."""
    if instant is None:
        return None
    return instant.astimezone(KST).isoformat(timespec="seconds")


def day(value: object) -> str | None:
    """A day, None if there is none."""
    return None if value is None else str(value)


def overview(
    found: Overview,
    token_created_at: datetime | None,
    requests_per_second: float | None = None,
) -> dict[str, Any]:
    """The answer of ``/api/status``; the limit is of each call for an app key."""
    age = found.now - token_created_at if token_created_at else None
    return {
        "now": seoul(found.now),
        "complete": found.is_complete,
        "series": found.series,
        "late": found.late,
        "missing": found.missing,
        "timeframes": [_tile(tile) for tile in found.tiles],
        "token": {
            "created_at": seoul(token_created_at),
            "age_seconds": int(age.total_seconds()) if age else None,
        },
        "rates": [
            {
                "api_id": rate.api_id,
                "requests": rate.requests,
                "requests_per_second": requests_per_second,
                "used": rate.used(requests_per_second),
                "slowdown": round(rate.slowdown, 3),
                "reserved_seconds": round(
                    max(0.0, (rate.next_free_at - found.now).total_seconds()), 1
                ),
                "slowed_at": seoul(rate.slowed_at),
            }
            for rate in found.rates
        ],
        "doubts": [
            {
                "stock_code": doubt.stock.code,
                "stock_name": doubt.stock.name,
                "timeframe": doubt.timeframe and doubt.timeframe.value,
                "reason": "unproven" if doubt.timeframe else "vanished",
            }
            for doubt in found.doubts
        ],
        "broken": found.broken,
        "broken_seals": [_broken(seal) for seal in found.broken_seals],
        "problems": [_problem(problem) for problem in found.problems],
    }


def _tile(tile: Tile) -> dict[str, Any]:
    return {
        "timeframe": tile.timeframe.value,
        "series": tile.series,
        "fresh": tile.fresh,
        "late": tile.late,
        "through": seoul(tile.through),
        "due_at": seoul(tile.due_at),
        "next_tick_at": seoul(tile.next_tick_at),
        "settled_through": day(tile.settled_through),
        "missing_sessions": tile.missing_sessions,
        "missing_candles": tile.missing_candles,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "state": problem.verdict.state.name.lower(),
        "reason": problem.verdict.reason.value,
        "timeframe": problem.timeframe.value,
        "at": instant_or_day(problem.at),
        "series": problem.series,
        "candles": problem.candles,
        "stocks": [
            {"code": stock.code, "name": stock.name} for stock in problem.stocks
        ],
        "cause": problem.cause.value,
        "error_code": problem.error_code,
        "error_message": problem.error_message,
        "run_id": problem.run_id,
        "remedy": problem.remedy,
        "message": problem.trigger,
    }


def _broken(found: BrokenSeal) -> dict[str, Any]:
    return {
        "stock_code": found.stock.code,
        "stock_name": found.stock.name,
        "timeframe": found.timeframe.value,
        "session": str(found.session_date),
        "sealed": found.sealed,
        "found": found.found,
        "found_at": seoul(found.found_at),
        "message": verify_of(found),
    }


def instant_or_day(at: date | None) -> str | None:
    """An instant or a day."""
    return seoul(at) if isinstance(at, datetime) else day(at)


def coverage(found: Coverage, now: datetime, *, counts: bool) -> dict[str, Any]:
    """The answer of ``/api/coverage``: a letter for each session of each stock.

    With ``counts``, also how many candles each of them has.
    """

    def candles(code: str) -> list[int]:
        stored = found.stored.get(code, {})
        return [stored.get(each, NOTHING).candles for each in found.sessions]

    return {
        "timeframe": found.timeframe.value,
        "now": seoul(now),
        "states": STATES,
        "sessions": [str(each) for each in found.sessions],
        "expected": list(found.expected),
        "stocks": [
            {
                "code": row.stock.code,
                "name": row.stock.name,
                "letters": row.letters,
                **({"marks": row.marks} if row.marks else {}),
                **({"candles": candles(row.stock.code)} if counts else {}),
            }
            for row in found.rows
        ],
    }


def series(found: StockSeries, now: datetime) -> dict[str, Any]:
    """What is known of a series."""
    facts, proofs = found.facts, found.facts.series
    return {
        "now": seoul(now),
        "stock_code": found.stock.code,
        "stock_name": found.stock.name,
        "timeframe": found.timeframe.value,
        "is_target": facts.is_target,
        "listed": facts.listed,
        "halted": facts.halted,
        "listed_on": day(facts.listed_on),
        "covered_from": day(proofs.covered_from),
        "wanted_from": day(proofs.wanted_from),
        "loaded_on": day(proofs.loaded_on),
        "settled_through": day(proofs.settled_through),
        "oldest": day(proofs.oldest),
        "newest": seoul(proofs.newest),
        "history_exhausted": proofs.history_exhausted,
        "ended": proofs.ended,
        "asked_at": seoul(facts.asked_at),
    }


def verdict(found: Verdict) -> dict[str, Any]:
    """A verdict with its facts."""
    return {
        "state": found.state.name.lower(),
        "letter": found.state.value,
        "reason": found.reason.value,
        "expected": found.expected,
        "candles": found.candles,
        "explained": found.explained,
        "missing": found.missing,
        "due_at": seoul(found.due_at),
        "remedy": found.remedy,
    }


def slot(found: SlotVerdict) -> dict[str, Any]:
    """A candle slot with its verdict."""
    told = verdict(found.verdict)
    return {
        "opens_at": seoul(found.opens_at),
        **{name: told[name] for name in ("state", "letter", "reason", "due_at")},
        "remedy": told["remedy"],
    }


def series_report(found: SeriesReport, now: datetime) -> dict[str, Any]:
    """A series with its sessions."""
    return {
        **series(found.series, now),
        "is_late": found.is_late,
        "sessions": [str(each) for each in found.sessions],
        "letters": found.letters,
        "states": {state.name.lower(): n for state, n in found.states.items()},
        "gaps": [
            {"session": str(each), **verdict(told)} for each, told in found.problems
        ],
        "last_task": task(found.last_task),
    }


def session_report(found: SessionReport, now: datetime) -> dict[str, Any]:
    """One session of a series."""
    return {
        **series(found.series, now),
        "session": str(found.session),
        **verdict(found.verdict),
        "marks": marks(found.mark),
        "slots": [slot(each) for each in found.slots],
        "seal": seal(found.seal),
        "broken": _broken(found.broken) if found.broken else None,
        "last_task": task(found.last_task),
        **history(found.history),
    }


def slot_report(found: SlotReport, now: datetime) -> dict[str, Any]:
    """One candle slot, with the session that it is in."""
    session = found.session_verdict
    return {
        **series(found.series, now),
        **slot(found.slot),
        "session": verdict(session) if session else None,
        "last_task": task(found.last_task),
        **history(found.history),
    }


def slot_map(found: SlotMap, known: StockSeries, now: datetime) -> dict[str, Any]:
    """The candle slots of some sessions: a letter for each time of the day."""
    return {
        "stock_code": known.stock.code,
        "stock_name": known.stock.name,
        "now": seoul(now),
        "times": list(found.times),
        "sessions": [str(each) for each in found.sessions],
        "letters": list(found.letters),
    }


def marks(mark: Mark | None) -> list[str]:
    """What else happened to a session."""
    return [each.name.lower() for each in mark or Mark(0) if each.name]


def task(found: TaskError | None) -> dict[str, Any] | None:
    """The newest task of a series."""
    if found is None:
        return None
    return {
        "run_id": found.run_id,
        "state": found.state,
        "error_code": found.error_code,
        "error_message": found.error_message,
    }


def seal(found: Seal | None) -> dict[str, Any] | None:
    """The seal of a session."""
    if found is None:
        return None
    return {
        "of": str(found.session_date),
        "candles": found.candles,
        "digest": found.digest,
        "sealed_at": seoul(found.sealed_at),
        "first_sealed_at": seoul(found.first_sealed_at),
        "run_id": found.run_id,
    }


def history(found: History) -> dict[str, Any]:
    """Corporate actions, revisions and refused rows."""
    return {
        "actions": [
            {
                "after": str(action.after_date),
                "effective_by": str(action.effective_by),
                "ratio": action.ratio,
                "run_id": action.run_id,
                "detected_at": seoul(action.detected_at),
            }
            for action in found.actions
        ],
        "revisions": [
            {
                "opened_at": seoul(each.opened_at),
                "open": each.open,
                "high": each.high,
                "low": each.low,
                "close": each.close,
                "volume": each.volume,
                "withdrawn": each.withdrawn,
                "revised_at": seoul(each.revised_at),
                "run_id": each.run_id,
            }
            for each in found.revisions
        ],
        "quarantine": [
            {
                "opened_at": seoul(row.opened_at),
                "reason": row.reason,
                "refused_at": seoul(row.refused_at),
                "run_id": row.run_id,
            }
            for row in found.quarantine
        ],
    }


def daily_report(found: StoredReport) -> dict[str, Any]:
    """The report of a day."""
    report = found.report
    return {
        "day": str(report.day),
        "made_at": seoul(report.made_at),
        "is_made_up": report.is_made_up,
        "summary": report.summary,
        "has_session": report.has_session,
        **report.figures,
        "timeframes": [
            asdict(frame) | {"coverage": frame.coverage} for frame in report.frames
        ],
        "seals_digest": report.sealed.digest,
        "previous": report.previous,
        "chain": found.chain,
        "is_linked": found.is_linked,
    }


def since(found: Since) -> dict[str, Any]:
    """What has become of the seals of a report."""
    return {"sealed_anew": found.sealed_anew, "seals_are_same": found.is_same}


def run(found: RunRow) -> dict[str, Any]:
    """A run in a list."""
    return {
        "run_id": found.run_id,
        "trigger": dict(found.trigger),
        "state": found.state,
        "requested_at": seoul(found.requested_at),
        "recorded_at": found.written_at.astimezone(KST).isoformat(),
        "published_at": seoul(found.published_at),
        "finished_at": seoul(found.finished_at),
        "seconds": found.seconds,
        "superseded_by": found.superseded_by,
        "tasks": dict(found.tasks),
        "requests": found.requests,
        "missing": found.missing,
    }


def run_detail(found: RunDetail, remedy: Callable[[str], str]) -> dict[str, Any]:
    """A run with its tasks in groups."""
    return {
        **run(found.run),
        "open_tasks": found.open_tasks,
        "groups": [
            {
                "timeframe": group.timeframe.value,
                "state": group.state,
                "tasks": group.tasks,
                "attempts": int(group.attempts),
                "requests": int(group.requests),
                "least_requests": int(group.least_requests),
                "inserted": int(group.inserted),
                "updated": int(group.updated),
                "unchanged": int(group.unchanged),
                "rejected": int(group.rejected),
                "revised": int(group.revised),
                "withdrawn": int(group.withdrawn),
                "missing": int(group.missing),
            }
            for group in found.groups
        ],
        "errors": [
            {
                "error_code": error.error_code,
                "state": error.state,
                "tasks": error.tasks,
                "message": error.message,
                "remedy": remedy(error.error_code),
                "examples": list(error.examples),
            }
            for error in found.errors
        ],
    }
