"""Rows and pages of the broker's calls, as they appear on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from shared.sessions import KST

if TYPE_CHECKING:
    from infra.local.broker.bars import Bars
    from infra.local.broker.views import ChartView

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

    @property
    def opened(self) -> str:
        """The field that says when a row's candle opens."""
        return "cntr_tm" if "cntr_tm" in self.fields else "dt"


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
    """The row of empty strings with which the broker says that it has nothing."""
    return dict.fromkeys(call.fields, BLANK)


def page(
    view: ChartView, call: ChartCall, older_than: datetime | None
) -> tuple[list[Row], datetime | None]:
    """Cut one page, newest row first, from the newest or from the last page's end on.

    The second value is the instant of the oldest row, None on the last page.
    """
    bars = view.newest(older_than, call.page_size)
    if not len(bars):
        return [blank_row(call)], None
    cut = bars[-call.page_size :]
    rows = _minute_rows(cut) if call is MINUTE else _day_rows(cut, call)
    more = len(bars) > len(cut)
    oldest = datetime.fromtimestamp(int(cut.opened[0]), KST) if more else None
    return rows[::-1], oldest


def timeframe_of(call: ChartCall, scope: str) -> str:
    """The timeframe of a call: 5m, 30m, 60m, 1d or 1w."""
    return {DAILY: "1d", WEEKLY: "1w"}.get(call, f"{scope}m")


def read_instant(digits: str) -> datetime:
    """Read 14 digits, a time in Seoul.

    Raises:
        ValueError: If they are none.
    """
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=KST)


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
