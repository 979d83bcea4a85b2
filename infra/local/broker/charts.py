"""Rows and pages of the broker's calls, as they appear on the wire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import islice
from typing import TYPE_CHECKING

from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.local.broker.market import Bar, CorporateAction, Market

Row = dict[str, str]
TIC_SCOPES = {"5", "30", "60"}
BLANK = ""


@dataclass(frozen=True, slots=True)
class ChartCall:
    """One of the broker's chart calls."""

    api_id: str
    rows: str
    page_size: int
    required: tuple[str, ...]
    fields: tuple[str, ...]


MINUTE = ChartCall(
    "ka10080",
    "stk_min_pole_chart_qry",
    900,
    ("stk_cd", "tic_scope", "upd_stkpc_tp"),
    (
        "cur_prc",
        "trde_qty",
        "cntr_tm",
        "open_pric",
        "high_pric",
        "low_pric",
        "acc_trde_qty",
        "pred_pre",
        "pred_pre_sig",
    ),
)
_DAY_FIELDS = (
    "cur_prc",
    "trde_qty",
    "trde_prica",
    "dt",
    "open_pric",
    "high_pric",
    "low_pric",
    "pred_pre",
    "pred_pre_sig",
    "trde_tern_rt",
)
_DAY_BODY = ("stk_cd", "base_dt", "upd_stkpc_tp")
DAILY = ChartCall("ka10081", "stk_dt_pole_chart_qry", 600, _DAY_BODY, _DAY_FIELDS)
WEEKLY = ChartCall("ka10082", "stk_stk_pole_chart_qry", 600, _DAY_BODY, _DAY_FIELDS)
CALLS = {call.api_id: call for call in (MINUTE, DAILY, WEEKLY)}


def blank_row(call: ChartCall) -> Row:
    """The row of empty texts with which the broker says that it has nothing."""
    return dict.fromkeys(call.fields, BLANK)


def rows(  # noqa: PLR0913 - what a request says
    market: Market,
    call: ChartCall,
    stock_code: str,
    scope: str,
    base: date,
    older_than: datetime | None,
    now: datetime,
    *,
    adjusted: bool,
) -> Iterator[Row]:
    """Yield rows, newest first, from ``base`` (or the last page's end) on."""
    actions = market.actions.get(stock_code, []) if adjusted else []
    minute = call is MINUTE
    adjust = _adjuster(actions, base, volumes=not minute)
    last = min(base, older_than.date()) if older_than and minute else base
    if minute:
        for day in market.minutes(stock_code, int(scope), last, now):
            yield from _minute_rows([adjust(bar) for bar in day], older_than)
        return
    make = market.daily if call is DAILY else market.weekly
    unit = 1_000_000 if call is DAILY else 1
    bars = make(stock_code, last, now)
    for at in range(len(bars) - 1, -1, -1):
        if older_than and bars[at].opened_at >= older_than:
            continue
        before = adjust(bars[at - 1]).close if at else None
        yield _day_row(adjust(bars[at]), before, unit)


def page(
    source: Iterator[Row], call: ChartCall, key_of: Callable[[Row], str]
) -> tuple[list[Row], str]:
    """Cut one page; the key of the next one is empty on the last."""
    found = list(islice(source, call.page_size))
    more = next(source, None) is not None
    if not found:
        return [blank_row(call)], ""
    return found, key_of(found[-1]) if more else ""


def row_instant(row: Row) -> str:
    """The instant of a row in 14 digits."""
    return (row.get("cntr_tm") or row["dt"]).ljust(14, "0")


def read_instant(digits: str) -> datetime:
    """The instant that ``row_instant`` wrote."""
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=KST)


def _adjuster(
    actions: list[CorporateAction], base: date, *, volumes: bool
) -> Callable[[Bar], Bar]:
    """Raw values to values relative to ``base``.

    An action divides the prices before it, if ``base`` is not before it; the volume
    of days and weeks is multiplied, that of minutes is not.
    """
    known = [action for action in actions if action.effective_on <= base]

    def adjust(bar: Bar) -> Bar:
        ratio = 1.0
        for action in known:
            if bar.opened_at.date() < action.effective_on:
                ratio *= action.ratio
        if ratio == 1.0:
            return bar
        o, h, l, c = (  # noqa: E741 - the usual four
            max(1, round(price / ratio))
            for price in (bar.open, bar.high, bar.low, bar.close)
        )
        volume = round(bar.volume * ratio) if volumes else bar.volume
        return replace(bar, open=o, high=h, low=l, close=c, volume=volume)

    return adjust


def _minute_rows(bars: list[Bar], older_than: datetime | None) -> Iterator[Row]:
    """One day's rows, newest first.

    The sign of a price is its colour against the previous close, for which the day's
    first price stands here.
    """
    reference = bars[0].open
    total = 0
    rising: list[Row] = []
    for bar in bars:
        total += bar.volume
        if older_than and bar.opened_at >= older_than:
            continue
        rising.append(
            {
                "cur_prc": _coloured(bar.close, reference),
                "trde_qty": str(bar.volume),
                "cntr_tm": f"{bar.opened_at:%Y%m%d%H%M%S}",
                "open_pric": _coloured(bar.open, reference),
                "high_pric": _coloured(bar.high, reference),
                "low_pric": _coloured(bar.low, reference),
                "acc_trde_qty": str(total),
                **_change(bar.close, reference),
            }
        )
    return reversed(rising)


def _day_row(bar: Bar, before: int | None, unit: int) -> Row:
    return {
        "cur_prc": str(bar.close),
        "trde_qty": str(bar.volume),
        "trde_prica": str(bar.turnover // unit),
        "dt": f"{bar.opened_at:%Y%m%d}",
        "open_pric": str(bar.open),
        "high_pric": str(bar.high),
        "low_pric": str(bar.low),
        **_change(bar.close, before or bar.close),
        "trde_tern_rt": "+0.10" if bar.volume else "0.00",
    }


def _coloured(price: int, reference: int) -> str:
    return f"{_sign(price - reference)}{price}"


def _change(price: int, reference: int) -> Row:
    difference = price - reference
    colour = {"+": "2", "-": "5", "": "3"}[_sign(difference)]
    return {
        "pred_pre": f"{_sign(difference)}{abs(difference)}",
        "pred_pre_sig": colour,
    }


def _sign(difference: int) -> str:
    return "+" if difference > 0 else "-" if difference < 0 else ""
