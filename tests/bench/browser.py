"""The page in a browser, on a whole market: when it is painted, and the map ready.

The market has seals and no candles: of settled sessions, a map of many stocks reads
nothing else.
"""

from __future__ import annotations

from datetime import timedelta
from statistics import median

from sqlalchemy import text

from shared.candles import Timeframe
from shared.database.engine import new_engine, transaction
from shared.database.session_store import SessionStore
from shared.settings import DatabaseSettings
from tests.bench.pipeline import market_stocks
from tests.support import browsers, status_page
from tests.support.builders import CALENDAR
from tests.support.seeded_market import AT_ONCE, batched

SESSIONS = 250
FRAME = Timeframe.MINUTE_5
STOCKS = text("""
    INSERT INTO stocks (stock_code, stock_name, market_code, market_name, is_target)
    SELECT code, 'stock ' || code, '0', 'KOSPI', true
    FROM unnest(cast(:codes AS text[])) AS t (code)
""")
SERIES = text("""
    INSERT INTO series (stock_code, timeframe, covered_from, wanted_from, oldest,
                        settled_through, asked_at, collected_at)
    SELECT stock_code, :frame, :first, :first, :first, :last, :asked, :asked FROM stocks
""")
SEALS = text("""
    INSERT INTO session_seals (stock_code, timeframe, session_date, candles, digest)
    SELECT stock_code, :frame, day, expected, sha256(stock_code::bytea)
    FROM unnest(cast(:codes AS text[])) AS s (stock_code)
    CROSS JOIN unnest(cast(:days AS date[]), cast(:expected AS int[]))
        AS t (day, expected)
""")
PAINTED = """
    new Promise((done) => new PerformanceObserver((list) => {
      const [first] = list.getEntriesByName('first-contentful-paint');
      if (first) done(first.startTime / 1000);
    }).observe({ type: 'paint', buffered: true }))
"""
READY = """
    new Promise((done) => {
      const look = () => document.querySelector('#grid:not([hidden]) .cells')
        ? requestAnimationFrame(() => done(performance.now() / 1000))
        : setTimeout(look, 5);
      look();
    })
"""


def seed(url):
    """A whole market of complete sessions, asked for a moment ago."""
    now = status_page.NOW
    first = now.date() - timedelta(days=500)
    days = [*CALENDAR.session_dates(first, now.date())][-SESSIONS - 1 : -1]
    engine = new_engine(DatabaseSettings(url=url))
    SessionStore(engine).write(CALENDAR)
    values = {
        "frame": FRAME.value,
        "first": days[0],
        "last": days[-1],
        "asked": now - timedelta(minutes=1),
        "codes": market_stocks(),
        "days": "{" + ",".join(map(str, days)) + "}",
        "expected": [len(CALENDAR.slots(FRAME, day)) for day in days],
    }
    with transaction(engine) as connection:
        for statement in (STOCKS, SERIES):
            connection.execute(statement, values)
    for codes in batched(values["codes"], AT_ONCE):
        with transaction(engine) as connection:
            connection.execute(SEALS, values | {"codes": codes})
    with transaction(engine) as connection:
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()


def measure(url, folder, runs):
    """Seconds, as medians of ``runs`` fresh tabs: the first one warms the function."""
    with status_page.running(url, folder) as page_url, browsers.chromium() as browser:
        return {
            "overview_painted": _median(browser, f"{page_url}/", PAINTED, runs),
            "map_painted": _median(browser, f"{page_url}/coverage/5m", PAINTED, runs),
            "map_60_ready": _median(browser, f"{page_url}/coverage/5m", READY, runs),
            "map_250_ready": _median(
                browser, f"{page_url}/coverage/5m?sessions=250", READY, runs
            ),
        }


def _median(browser, url, told, runs):
    seconds = []
    for _ in range(runs + 1):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        seconds.append(page.evaluate(told))
        context.close()
    return round(median(seconds[1:]), 3)
