"""What goes wrong when candles are read; every text ends with a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from tradesmart.judgement import Gap

# So many gaps are told in the text of an error; all of them are in ``gaps``.
TOLD = 8


class SourceUnavailable(RuntimeError):
    """The source is not there, or is not what this package reads."""


class IncompleteData(ValueError):
    """Candles that were wanted are not there, or not final yet.

    Attributes:
        gaps: A frame with a row for each series and range: ``stock_code``,
            ``timeframe``, ``first`` and ``last`` (sessions, both included),
            ``sessions``, ``state``, ``reason``, ``missing`` (candles) and ``remedy``.
    """

    def __init__(self, gaps: pd.DataFrame, text: str) -> None:
        """Keep the ``gaps``; the text names the first of them."""
        super().__init__(text)
        self.gaps = gaps

    def __reduce__(self) -> tuple[type[IncompleteData], tuple[pd.DataFrame, str]]:
        """Travel between processes with all of it."""
        return IncompleteData, (self.gaps, str(self))


# SQLSTATEs: a column, or a table, that is not there.
UNDEFINED = {"42703", "42P01"}


def unanswered(place: str, reason: str, sqlstate: str | None) -> SourceUnavailable:
    """What is raised of a statement that the database refused or did not finish."""
    if sqlstate in UNDEFINED:
        return SourceUnavailable(
            f"{place} is not of the same release as this package ({reason}): bring it "
            "up to date with `make migrate` (make dev does so when it starts), or "
            "install the package of its release"
        )
    return SourceUnavailable(f"{place} did not answer: {reason}; try again")


def describe(gaps: list[Gap], damaged: list[str]) -> str:
    """Name series and ranges, and the message that fetches each."""
    lines = [f"  {gap.told}" for gap in together(gaps)]
    more = len(lines) - TOLD
    if more > 0:
        lines[TOLD:] = [f"  and {more} more, see .gaps of this error"]
    lines += [
        f"  {path} is damaged or gone: export again, which writes it anew"
        for path in damaged
    ]
    accept = (
        'to have them as they are, pass require=None (or require="asked" to accept '
        "only what was never asked for)"
    )
    return "\n".join(["the candles are not complete:", *lines, accept])


def together(gaps: list[Gap]) -> list[Gap]:
    """Gaps of several stocks that are alike in all else, as one."""
    alike: dict[tuple[object, ...], Gap] = {}
    for gap in gaps:
        key = gap.alike
        alike[key] = alike[key].with_stocks_of(gap) if key in alike else gap
    return list(alike.values())
