"""The page in a browser, on a whole market: when it is painted, and the map ready."""

from __future__ import annotations

from statistics import median

from tests.bench.page import NOW
from tests.support import browsers, status_page

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


def measure(url, folder, runs):
    """Seconds, as medians of ``runs`` fresh tabs: the first one warms the function."""
    with (
        status_page.running(url, folder, NOW) as page_url,
        browsers.chromium() as browser,
    ):
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
