"""Rows and pages of the broker's calls, as they appear on the wire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING

import numpy as np

from infra.local.broker.market import NOTHING, Array, Bars, joined
from shared.sessions import KST, midnight

if TYPE_CHECKING:
    from infra.local.broker.market import CorporateAction, Market

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


def page(
    market: Market,
    call: ChartCall,
    stock_code: str,
    scope: str,
    base: date,
    older_than: datetime | None,
    now: datetime,
    *,
    adjusted: bool,
) -> tuple[list[Row], datetime | None]:
    """Cut one page, newest row first, from ``base`` or from the last page's end on.

    The second value is the instant of the oldest row, None on the last page.
    """
    size = call.page_size
    bars = _newest(market, call, stock_code, scope, base, older_than, now)
    if not len(bars):
        return [blank_row(call)], None
    actions = market.actions.get(stock_code, [])
    days = call is not MINUTE
    cut = bars[-size:]
    cut = _in_shares_of(cut, actions, base, adjusted=adjusted, volumes=days)
    rows = _minute_rows(cut) if call is MINUTE else _day_rows(cut, call)
    more = len(bars) > size
    oldest = datetime.fromtimestamp(int(cut.opened[0]), KST) if more else None
    return rows[::-1], oldest


def _newest(
    market: Market,
    call: ChartCall,
    stock_code: str,
    scope: str,
    base: date,
    older_than: datetime | None,
    now: datetime,
) -> Bars:
    """A page and at least one bar more, if there is one."""
    if call is not MINUTE:
        make = market.daily if call is DAILY else market.weekly
        bars = make(stock_code, base, now)
        return bars.before(older_than) if older_than else bars
    last = min(base, older_than.date()) if older_than else base
    parts: list[Bars] = []
    for part in market.minutes(stock_code, int(scope), last, now):
        parts.insert(0, part.before(older_than) if older_than else part)
        if sum(map(len, parts)) > call.page_size:
            break
    return joined(parts) if parts else NOTHING


def read_instant(digits: str) -> datetime:
    """Read 14 digits, a time in Seoul.

    Raises:
        ValueError: If they are none.
    """
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=KST)


def _in_shares_of(
    bars: Bars,
    actions: list[CorporateAction],
    base: date,
    *,
    adjusted: bool,
    volumes: bool,
) -> Bars:
    """The market's values, in its oldest shares, as prices of another day's shares.

    Adjusted prices are those of the shares of ``base``, raw ones those of the shares of
    their own day. The volume of days and weeks goes with it, that of minutes is never
    adjusted.
    """
    ratio, own = np.ones(len(bars)), np.ones(len(bars))
    for action in actions:
        begin = midnight(action.effective_on).timestamp()
        own[bars.opened >= begin] *= action.ratio
        if action.effective_on <= base:
            ratio *= action.ratio
    if not adjusted:
        ratio = own
    shares = ratio if volumes else own
    if not actions:
        return bars

    def price(raw: Array) -> Array:
        return np.maximum(1, np.rint(raw / ratio)).astype(np.int64)

    return replace(
        bars,
        open=price(bars.open),
        high=price(bars.high),
        low=price(bars.low),
        close=price(bars.close),
        reference=price(bars.reference),
        volume=np.rint(bars.volume * shares).astype(np.int64),
    )


def _minute_rows(bars: Bars) -> list[Row]:
    """Rows in ascending order; the sign of a price is only its colour."""
    rows = []
    for opened, o, h, l, c, v, _, total, ref in zip(  # noqa: E741 - the usual five
        *(column.tolist() for column in bars.columns()), strict=True
    ):
        at = datetime.fromtimestamp(opened, KST)
        rows.append(
            {
                "cur_prc": f"{_sign(c - ref)}{c}",
                "trde_qty": str(v),
                "cntr_tm": at.isoformat("T", "seconds")[:19].translate(_DIGITS_ONLY),
                "open_pric": f"{_sign(o - ref)}{o}",
                "high_pric": f"{_sign(h - ref)}{h}",
                "low_pric": f"{_sign(l - ref)}{l}",
                "acc_trde_qty": str(total),
                "pred_pre": f"{c - ref:+}" if c != ref else "0",
                "pred_pre_sig": _COLOURS[_sign(c - ref)],
            }
        )
    return rows


def _day_rows(bars: Bars, call: ChartCall) -> list[Row]:
    """Rows in ascending order; days have their traded value in millions."""
    unit = 1_000_000 if call is DAILY else 1
    rows = []
    for opened, o, h, l, c, v, turnover, _, ref in zip(  # noqa: E741 - the usual five
        *(column.tolist() for column in bars.columns()), strict=True
    ):
        rows.append(
            {
                "cur_prc": str(c),
                "trde_qty": str(v),
                "trde_prica": str(turnover // unit),
                "dt": datetime.fromtimestamp(opened, KST).strftime("%Y%m%d"),
                "open_pric": str(o),
                "high_pric": str(h),
                "low_pric": str(l),
                "pred_pre": f"{c - ref:+}" if c != ref else "0",
                "pred_pre_sig": _COLOURS[_sign(c - ref)],
                "trde_tern_rt": "+0.10" if v else "0.00",
            }
        )
    return rows


_DIGITS_ONLY = str.maketrans("", "", "-T:")
_COLOURS = {"+": "2", "-": "5", "": "3"}


def _sign(difference: int) -> str:
    return "+" if difference > 0 else "-" if difference < 0 else ""
