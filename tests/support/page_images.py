"""Take the README's pictures of the page: ``python -m tests.support.page_images``.

A stack of its own collects the targets from the simulated broker, loses a candle behind
the pipeline's back, and is looked at in Korean and English.
"""

from __future__ import annotations

import json
import sys

import requests

from infra.local.stack import Stack
from tests.e2e.conftest import Pipeline, options, until
from tests.support import browsers, servers

IMAGES = servers.ROOT / "docs" / "images"
# README pages should load quickly.
MOST_BYTES = 150_000
# High enough for a panel below the cell that it is of.
WIDTH, HEIGHT = 1120, 830
FRAMES = ["5m", "30m", "60m", "1d", "1w"]
LOST = (
    "DELETE FROM candles WHERE stock_code = '005930' AND timeframe = '5m'"
    " AND opened_at = '2026-11-18 10:00+09' RETURNING 1"
)
# Name, path, language, theme, and the keys that are pressed on the map.
PICTURES = [
    ("page-ko", "/?lang=ko", "light", ()),
    ("page-en", "/?lang=en", "light", ()),
    ("map-ko", "/coverage/5m?lang=ko&at=005930+2026-11-18", "dark", ("Enter",)),
    ("map-en", "/coverage/5m?lang=en&at=005930+2026-11-18", "dark", ("Enter",)),
]


def main() -> int:
    """Write the pictures."""
    with (
        servers.open_directory() as directory,
        Stack(
            options(RATE="off", NOW="2026-11-20T10:37"), directory, durable=False
        ) as stack,
    ):
        pipeline = Pipeline(stack)
        stack.publish("tokens", b'{"reason":"pictures"}')
        until(lambda: stack.secrets.count("kiwoom-token"), "a token is there")
        pipeline.run(json.dumps({"timeframes": FRAMES}))
        pipeline.query(LOST)
        url = f"http://127.0.0.1:{stack.ports['status_page']}"
        until(lambda: _token_of(url), "the page knows the token")
        with browsers.chromium() as browser:
            for name, path, theme, keys in PICTURES:
                _take(browser, url + path, IMAGES / f"{name}.png", theme, keys)
    return 0


def _token_of(url):
    status = requests.get(f"{url}/api/status", timeout=10).json()
    return status["token"]["created_at"]


def _take(browser, url, image, theme, keys):
    page = browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=theme
    )
    page.goto(url, wait_until="networkidle")
    for key in keys:
        page.locator("#grid").press(key)
        page.locator("#panel h1").wait_for()
        page.evaluate("scrollTo(0, document.querySelector('header').offsetHeight)")
    page.screenshot(path=image)
    page.close()
    size = image.stat().st_size
    assert size <= MOST_BYTES, f"{image.name} has {size:,} bytes"


if __name__ == "__main__":
    sys.exit(main())
