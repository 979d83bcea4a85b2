"""What ``/simulator/scenario`` is told: faults, and what the broker will disclose.

The body is a JSON object; a part that is given replaces what was given of it before,
and the answer is the scenario as it is then. Instants are ISO 8601, in Seoul unless
they have a zone; days are ``2026-11-18``. Timeframes are 5m, 30m, 60m, 1d and 1w.

``faults``: a list of faults (``faults.Fault``) of single answers::

    {"kind": "server_error", "page": 2, "times": 3}
    {"kind": "blank", "stock_code": "005930", "timeframe": "5m", "page": 2, "times": 1}
    {"kind": "corrupt", "opens": "2026-11-18 10:30", "how": "blank_field"}
    {"kind": "stale", "as_of": "2026-11-18 15:00", "until": "2026-11-19 08:00"}
    {"kind": "cut", "row": 40, "rows": 3, "times": 1}
    {"kind": "last", "page": 1, "rows": 30}
    {"kind": "null_token", "times": 1}

``actions``: corporate actions by stock, as ``[day, ratio]`` or with a schedule::

    {"005930": [["2025-04-25", 5], {"effective_on": "2026-11-18", "ratio": 2,
        "shown_from": {"5m": "2026-11-19 07:00", "1d": "2026-11-18 21:00"},
        "recent_days": 30, "rest_from": "2026-11-20 07:00"}]}

``corrections``, ``withdrawals``, ``phantoms``: lists of edits of one candle, each from
``since`` on and ``until`` an instant, where these are given; ``alone`` keeps them from
the timeframes that are built of it::

    {"stock_code": "005930", "timeframe": "1d", "at": "2026-11-18",
     "changes": {"high": 300, "volume": -5}, "since": "2026-11-19 03:00"}
    {"stock_code": "005930", "timeframe": "5m", "at": "2026-11-18 10:30",
     "through": "2026-11-18 11:00"}
    {"stock_code": "005930", "timeframe": "5m", "at": "2026-11-18 15:20",
     "price": 70000, "volume": 10, "until": "2026-11-19 03:00"}

``redated_weeks``: ``{"stock_code": …, "week": day, "shown_on": day}``.

``second_token_kills_first``: true or false; the broker was seen to do both.

``delistings``: ``{"stock_code": …, "since": …, "until": …, "listed_on": day,
"serves_from": day}``; after ``until`` the stock is back, with another date in the stock
list and without the candles before a day, where these are given.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from infra.local.broker.faults import Fault, How, Kind
from infra.local.broker.views import (
    CorporateAction,
    Correction,
    Delisting,
    Disclosure,
    Disclosures,
    Phantom,
    RedatedWeek,
    Withdrawal,
)
from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEFRAMES = ("5m", "30m", "60m", "1d", "1w")
EDITS: dict[str, type[Disclosure]] = {
    "corrections": Correction,
    "withdrawals": Withdrawal,
    "phantoms": Phantom,
    "redated_weeks": RedatedWeek,
    "delistings": Delisting,
}
PARTS = ("faults", "actions", *EDITS)

Read = TypeVar("Read")


def apply(
    scenario: dict[str, Any], disclosures: Disclosures
) -> tuple[Disclosures, list[Fault] | None]:
    """The disclosures as the scenario changes them, and its faults if it has some.

    Raises:
        ValueError, TypeError: If a part or a field is unknown or malformed.
    """
    _refuse_unknown(scenario, PARTS)
    faults = None
    if "faults" in scenario:
        faults = [_read(Fault, raw) for raw in scenario["faults"]]
    parts: dict[str, Any] = {
        field.name: getattr(disclosures, field.name) for field in fields(disclosures)
    }
    if "actions" in scenario:
        parts["actions"] = {
            stock_code: [_action(raw) for raw in actions]
            for stock_code, actions in scenario["actions"].items()
        }
    for name, of in EDITS.items():
        if name in scenario:
            parts[name] = [_read(of, raw) for raw in scenario[name]]
    return Disclosures(**parts), faults


def as_json(disclosures: Disclosures, faults: list[Fault]) -> dict[str, Any]:
    """The scenario as it could be posted again."""
    lists = {name: getattr(disclosures, name) for name in EDITS} | {"faults": faults}
    actions = {
        stock_code: [_fields_of(action) for action in of_stock]
        for stock_code, of_stock in disclosures.actions.items()
    }
    return {"actions": actions} | {
        name: [_fields_of(item) for item in items] for name, items in lists.items()
    }


def _read(of: type[Read], raw: object) -> Read:
    if not isinstance(raw, dict):
        message = f"{raw!r} is not an object"
        raise TypeError(message)
    names = [f.name for f in fields(of) if f.init]  # type: ignore[arg-type]
    _refuse_unknown(raw, names)
    known = {name: READERS.get(name, _as_it_is)(value) for name, value in raw.items()}
    return of(**known)


def _action(raw: object) -> CorporateAction:
    if isinstance(raw, list):
        effective_on, ratio = raw
        return CorporateAction(_day(effective_on), float(ratio))
    return _read(CorporateAction, raw)


def _refuse_unknown(raw: dict[str, Any], known: tuple[str, ...] | list[str]) -> None:
    if unknown := sorted(raw.keys() - set(known)):
        message = f"unknown field {unknown}"
        raise ValueError(message)


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=KST)


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _day_or_none(text: str | None) -> date | None:
    return _day(text) if text is not None else None


def _shown_from(raw: str | dict[str, str]) -> dict[str, datetime | None]:
    if isinstance(raw, str):
        return dict.fromkeys(TIMEFRAMES, _instant(raw))
    return {timeframe: _instant(text) for timeframe, text in raw.items()}


def _as_it_is(value: object) -> object:
    return value


INSTANTS = ("at", "through", "since", "until", "opens", "as_of", "rest_from")
DAYS = ("effective_on", "week", "shown_on", "listed_on", "serves_from")
READERS: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(INSTANTS, _instant),
    **dict.fromkeys(DAYS, _day_or_none),
    "shown_from": _shown_from,
    "kind": Kind,
    "how": How,
    "ratio": float,
}


def _fields_of(item: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses
    return {
        field.name: _plain(getattr(item, field.name))
        for field in fields(item)
        if field.init
    }


def _plain(value: object) -> object:
    if isinstance(value, date):  # an instant is one as well
        return value.isoformat()
    if hasattr(value, "items"):
        return {name: _plain(part) for name, part in value.items()}
    return value
