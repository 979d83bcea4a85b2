"""Which market moments the data cover, and which database continues at a moment."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import date, datetime
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from shared.database.engine import DRIVER
from shared.errors import ConfigError
from shared.sessions import KST, kst_date

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infra.local.options import Options
    from infra.local.postgres import Postgres

REMEMBERED = "databases.json"
RECORDED = "krx_*.csv.gz"
# The market's own time of a run: the newest is the last moment a database has seen.
LAST_LIVED = text("SELECT max(requested_at) FROM runs")
DATABASES = text("SELECT datname FROM pg_database WHERE starts_with(datname, :prefix)")


def check_covered(moment: datetime, first: date, last: date, source: str) -> None:
    """Refuse a moment at which there is nothing to collect.

    Raises:
        ConfigError: If ``moment`` is outside of the days of ``source``; the text says
            what the range is.
    """
    if first <= kst_date(moment) <= last:
        return
    message = (
        f"NOW={moment.astimezone(KST):%Y-%m-%dT%H:%M} is outside of {source}, which "
        f"has {first} to {last}: choose a moment in that range"
    )
    raise ConfigError(message)


def recorded_range(folder: Path) -> tuple[date, date]:
    """The first and the last day of the recorded data in a folder.

    Raises:
        ConfigError: If it has no such data, or one of its files cannot be read.
    """
    days: set[str] = set()
    for path in sorted(folder.glob(RECORDED)):
        try:
            with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
                days.update(row["date"] for row in csv.DictReader(file))
        except (OSError, EOFError, KeyError, ValueError) as error:
            message = f"DATA: {path} cannot be read ({error}); replace the file"
            raise ConfigError(message) from None
    if not days:
        message = (
            f"DATA: {folder} has no {RECORDED}; name a folder with daily data "
            "(columns date, code, open, high, low, close, volume)"
        )
        raise ConfigError(message)
    return date.fromisoformat(min(days)), date.fromisoformat(max(days))


def database_name(options: Options, postgres: Postgres, directory: Path) -> str:
    """The database to use: a later moment continues where an earlier one has stopped.

    A moment that has been lived at before gets the database of that time, which is
    remembered in ``directory``.
    """
    name = options.database_name
    source, at, _ = name.rpartition("_at_")
    if options.moment is None or not at:
        return name
    path = directory / REMEMBERED
    known = _read(path)
    if name not in known:
        lived = _last_lived(postgres, source + at)
        known[name] = choose_database(name, lived, options.moment)
        path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    return known[name]


def _read(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(known) if isinstance(known, dict) else {}


def choose_database(name: str, lived: Mapping[str, datetime], moment: datetime) -> str:
    """Choose among the databases that have ``lived`` until a market moment.

    Candles must never come from the future: only one that has not seen anything after
    ``moment`` may continue, and of those the one that has come furthest.
    """
    if name in lived:
        return name
    earlier = {at: other for other, at in lived.items() if at <= moment}
    return earlier[max(earlier)] if earlier else name


def _last_lived(postgres: Postgres, prefix: str) -> dict[str, datetime]:
    found = {}
    for name in _ask(postgres, "postgres", DATABASES, prefix=prefix):
        try:
            (last,) = _ask(postgres, str(name), LAST_LIVED)
        except DBAPIError:
            continue  # its first start did not come as far as the tables
        if isinstance(last, datetime):
            found[str(name)] = last
    return found


def _ask(
    postgres: Postgres, database: str, statement: object, **values: str
) -> list[object]:
    url = postgres.url(database).replace("postgresql", DRIVER, 1)
    engine = create_engine(url, connect_args={"ssl_context": False})
    try:
        with engine.connect() as connection:
            rows = connection.execute(statement, values)  # type: ignore[call-overload]
            return list(rows.scalars())
    finally:
        engine.dispose()
