"""The page in a real browser, served by the real function, by keyboard and by eye."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from datetime import timedelta

import pytest
from sqlalchemy import text

from shared.database.daily_reports import DailyReports
from shared.database.engine import transaction
from tests.support import status_page
from tests.support.builders import kst
from tests.support.reports import a_report
from tests.support.status_page import NOW

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
browsers = pytest.importorskip("tests.support.browsers")
AXE = "axe-core@4.14.1"
# Milliseconds from one question of a page to the next.
POLL = 15_000
WIDTHS = (390, 768, 1280)


@pytest.fixture
def stored(engine, reference_data):
    status_page.write(engine)
    return engine


@pytest.fixture
def url(stored, database_url, tmp_path):
    with status_page.running(database_url, tmp_path) as url:
        yield url


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """What looks for barriers, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    packed = (
        subprocess.run(
            ["npm", "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True
        )
        if shutil.which("npm")
        else None
    )
    if packed is None or packed.returncode:
        pytest.skip(f"needs npm, and {AXE} from it")
    with tarfile.open(folder / packed.stdout.strip()) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member
        return member.read().decode()


@pytest.fixture(scope="module")
def chromium():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def browser(chromium):
    """A browser in which no page of another test is open."""
    yield chromium
    for context in chromium.contexts:
        context.close()


def opened(browser, url, *, timers=False, **look):
    """A page in New York that says what went to its console.

    With ``timers``, its time passes as the test says.
    """
    context = browser.new_context(
        timezone_id="America/New_York", **{"locale": "ko-KR", **look}
    )
    page = context.new_page()
    if timers:
        page.clock.install()
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(url)
    return page


def findings(page, axe):
    """What axe finds, of serious or critical impact."""
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": axe})
    found = session.send(
        "Runtime.evaluate",
        {
            "expression": "axe.run().then(r => JSON.stringify(r.violations))",
            "awaitPromise": True,
        },
    )
    return [
        (each["id"], each["nodes"][0]["html"])
        for each in json.loads(found["result"]["value"])
        if each["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", ["ko-KR", "en-US"])
def test_every_page_fits_is_readable_and_says_nothing_on_the_console(
    url, stored, browser, axe, theme, language
):
    DailyReports(stored).write(a_report())
    paths = (
        "/",
        "/coverage/5m",
        "/coverage/5m/005930/2026-11-18",
        "/stocks",
        "/stocks/005930?timeframe=5m",
        "/runs",
        "/reports",
        "/reports/2026-11-20",
        "/stocks/005931",
    )
    for path in paths:
        look = {"color_scheme": theme, "locale": language}
        page = opened(browser, url + path, **look)
        playwright.expect(page.locator("h1")).to_be_visible()
        if path == "/coverage/5m":
            playwright.expect(page.locator("#grid")).to_be_visible()
            page.locator("#grid").press("Enter")
            playwright.expect(page.locator("#panel h1")).to_be_visible()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(150)
            assert not page.evaluate(
                "document.documentElement.scrollWidth - innerWidth"
            ), (path, width)
            assert findings(page, axe) == [], (path, width)
        # Where there is no such stock, Chromium says so by itself.
        assert path == "/stocks/005931" or page.said == [], path
        page.context.close()


def test_the_map_is_walked_and_opened_by_keys_alone(url, browser):
    page = opened(browser, f"{url}/coverage/5m?lang=ko")
    grid, said = page.locator("#grid"), page.locator("#say")
    playwright.expect(grid).to_be_visible()
    grid.focus()
    page.keyboard.press("Home")
    playwright.expect(said).to_contain_text("SK하이닉스 000660")
    page.keyboard.press("End")
    page.keyboard.press("ArrowDown")
    playwright.expect(said).to_have_text("삼성전자 005930 · 2026-11-20 · 미확정 18/126")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    playwright.expect(said).to_have_text("삼성전자 005930 · 2026-11-18 · 누락 125/126")
    page.keyboard.press("Enter")
    panel = page.locator("#panel")
    playwright.expect(panel).to_contain_text("125/126")
    playwright.expect(panel).to_contain_text("봉이 없는 시각10:00")
    playwright.expect(panel).to_be_focused()
    # The URL says where we are.
    assert "at=005930+2026-11-18" in page.url
    page.keyboard.press("Escape")
    playwright.expect(panel).to_be_hidden()
    playwright.expect(grid).to_be_focused()
    page.goto(page.url)
    playwright.expect(said).to_have_text("삼성전자 005930 · 2026-11-18 · 누락 125/126")


def test_the_map_shows_only_problems_and_finds_a_stock(url, browser):
    page = opened(browser, f"{url}/coverage/5m")
    playwright.expect(page.locator("#grid .names span")).to_have_count(2)
    page.get_by_label("문제만").check()
    playwright.expect(page.locator("#grid .names span")).to_have_text(["삼성전자"])
    page.get_by_label("문제만").uncheck()
    page.get_by_label("찾기").fill("0006")
    playwright.expect(page.locator("#grid .names span")).to_have_text(["SK하이닉스"])
    page.get_by_label("찾기").fill("nothing")
    playwright.expect(page.locator("#say")).to_have_text("맞는 종목이 없습니다.")
    # The link is the state also where it shows nothing.
    assert "q=nothing" in page.url


def test_the_first_candle_says_nine_in_new_york(url, browser):
    page = opened(browser, f"{url}/stocks/005930?timeframe=60m&lang=en")

    playwright.expect(page.locator("#say")).to_contain_text("2026-10-19 09:00")
    assert page.locator("#chart canvas").count()
    page.locator("#chart").hover()
    page.mouse.wheel(0, -400)
    assert page.said == []


def test_the_chart_is_zoomed_and_moved_by_keys_alone(url, browser):
    page = opened(browser, f"{url}/stocks/005930?timeframe=60m&lang=en")
    playwright.expect(page.locator("#say")).to_contain_text("2026-10-19 09:00")
    chart = page.locator("#chart")
    chart.focus()
    shown = [chart.screenshot()]
    for key in ("+", "ArrowLeft", "-"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
        shown.append(chart.screenshot())

    assert len(set(shown)) == len(shown)
    assert page.said == []


def test_a_split_and_its_mark_stand_in_a_table_too(url, browser):
    page = opened(browser, f"{url}/stocks/005930?timeframe=1d&lang=en")

    row = page.get_by_role("row", name="2026-11-11")
    playwright.expect(row).to_contain_text("old prices × 0.2")


def test_late_comes_and_goes_without_a_reload(url, browser, stored):
    page = opened(browser, f"{url}/?lang=ko", timers=True)
    answer = page.locator("#answer")
    playwright.expect(answer).to_contain_text("봉 1개 누락")
    page.evaluate("window.stayed = true")

    def asked(at):
        with transaction(stored) as connection:
            connection.execute(
                text("UPDATE series SET asked_at = :at WHERE timeframe = '5m'"),
                {"at": at},
            )

    asked(kst("2026-11-20 10:20"))
    page.clock.run_for(POLL)
    playwright.expect(answer).to_contain_text("2개 시리즈 지연")
    asked(NOW + timedelta(hours=1))
    page.clock.run_for(POLL)
    playwright.expect(answer).not_to_contain_text("지연")
    assert page.evaluate("window.stayed")


def test_what_one_reads_stays_open_and_what_has_the_focus_keeps_it(
    url, browser, stored
):
    page = opened(browser, f"{url}/stocks/005930?lang=en&timeframe=5m", timers=True)
    page.locator("#candles summary").click()
    link = page.locator("#series a").first
    link.focus()
    before = page.locator("#series").inner_html()

    with transaction(stored) as connection:
        connection.execute(
            text("UPDATE series SET asked_at = asked_at - interval '15 minutes'")
        )
    page.clock.run_for(POLL)

    # What is wrong comes while one looks, as it goes.
    playwright.expect(page.locator("#problems")).to_contain_text("no one has asked")
    assert page.locator("#series").inner_html() != before
    assert page.locator("#candles").evaluate("table => table.open")
    playwright.expect(link).to_be_focused()
    with transaction(stored) as connection:
        connection.execute(
            text("UPDATE series SET asked_at = asked_at + interval '15 minutes'")
        )
    page.clock.run_for(POLL)
    playwright.expect(page.locator("#problems")).not_to_contain_text("no one has asked")


@pytest.mark.parametrize("path", ["/?lang=en", "/coverage/5m?lang=en"])
def test_a_page_without_an_answer_shows_nothing_older(path, url, browser):
    page = opened(browser, url + path, timers=True)
    shown = page.locator("main > :not(#lost)").first
    playwright.expect(shown).to_be_visible()
    page.route("**/*", lambda route: route.abort())
    page.clock.run_for(POLL)

    playwright.expect(page.locator("#lost")).to_contain_text("The page cannot say")
    playwright.expect(shown).to_be_hidden()
    page.unroute("**/*")
    page.clock.run_for(POLL)
    playwright.expect(page.locator("#lost")).to_be_hidden()
    playwright.expect(shown).to_be_visible()


@pytest.mark.parametrize("silent", ["**/api/**", "**/coverage/5m?sessions=*"])
def test_a_part_that_answers_does_not_hide_that_another_does_not(silent, url, browser):
    page = opened(browser, f"{url}/coverage/5m?lang=en", timers=True)
    playwright.expect(page.locator("#grid")).to_be_visible()
    page.route(silent, lambda route: route.abort())
    page.clock.run_for(POLL)
    playwright.expect(page.locator("#lost")).to_be_visible()
    page.wait_for_load_state("networkidle")

    playwright.expect(page.locator("#lost")).to_be_visible()


def test_where_a_system_takes_colours_away_the_legend_still_explains_the_map(
    url, browser
):
    page = opened(browser, f"{url}/coverage/5m?lang=en", forced_colors="active")
    signs = page.locator("#legend i").evaluate_all(
        "all => all.map((sign) => getComputedStyle(sign).backgroundColor)"
    )

    assert len(signs) == len({*signs}) == 7


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_mark_has_an_edge_on_cells_of_any_colour(url, browser, theme):
    page = opened(browser, f"{url}/coverage/1d?lang=en", color_scheme=theme)
    mark = page.locator("#grid .marks b").first
    playwright.expect(mark).to_have_text("▲")
    told = mark.evaluate(
        "b => (({color, webkitTextStroke}) => [color, webkitTextStroke])(getComputedStyle(b))"
    )

    assert told == ["rgb(22, 27, 34)", "3px rgb(255, 255, 255)"]


def test_a_page_that_cannot_be_seen_asks_nothing(url, browser):
    page = opened(browser, f"{url}/", timers=True)
    asked = []
    page.on("request", lambda request: asked.append(request.resource_type))
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
    page.clock.run_for(4 * POLL)

    assert "fetch" not in asked


def test_the_slots_of_a_stock_are_walked_by_keys(url, browser):
    page = opened(browser, f"{url}/stocks/005930?timeframe=5m&lang=en")
    said = page.locator("#slot")
    playwright.expect(said).to_have_text("2026-11-20 09:00 · Provisional")
    slots = page.locator("#slots")
    for key in ("ArrowDown", "ArrowDown", *["ArrowRight"] * 12):
        slots.press(key)

    playwright.expect(said).to_have_text("2026-11-18 10:00 · Missing")


def test_without_javascript_the_problems_stand_in_a_table(url, browser):
    page = opened(browser, f"{url}/coverage/5m?lang=ko", java_script_enabled=False)

    row = page.get_by_role("row", name="2026-11-18")
    playwright.expect(row).to_contain_text("삼성전자")
    playwright.expect(row).to_contain_text("누락")


@pytest.mark.parametrize("path", ["/coverage/5m", "/stocks/005930?timeframe=5m"])
def test_without_javascript_nothing_asks_for_a_cell_to_be_chosen(path, url, browser):
    look = {"locale": "en-US", "java_script_enabled": False}
    page = opened(browser, url + path, **look)

    playwright.expect(page.get_by_text("Cells with a problem")).to_be_visible()
    playwright.expect(page.get_by_text("Choose a cell.")).to_be_hidden()
