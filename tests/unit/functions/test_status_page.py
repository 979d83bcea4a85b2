"""The page without a server: its words, its files, its contract, and what it judges."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, timedelta
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from markupsafe import escape

from functions.status_page import api as page_api
from functions.status_page import app as page_app
from functions.status_page import background, main, rendering, status, views
from functions.status_page import candles as csv_candles
from functions.status_page.answers import MOST_KEPT, AnswerCache
from functions.status_page.app import new_app
from functions.status_page.background import InBackground
from functions.status_page.problems import problem_of
from functions.status_page.services import Services
from functions.status_page.status import TASK_REMEDIES, Cause, Problem, overview
from functions.status_page.triggers import MODES, trigger_of, verify_of
from functions.status_page.words import LANGUAGES, words
from infra import make_openapi
from shared import session_map
from shared.candles import Timeframe
from shared.daily_reports import Sealed, StoredReport, Tally
from shared.errors import (
    CalendarMissing,
    ConfigError,
    DatabaseUnavailable,
    KiwoomUnavailable,
    VaultUnavailable,
    remedies,
)
from shared.events import Event
from shared.freshness import DueTimes, Tick
from shared.messages.trigger import Trigger
from shared.reports import (
    Account,
    BrokenSeal,
    CandlePage,
    Doubt,
    ErrorGroup,
    History,
    LateGroup,
    Mark,
    QuarantinedRow,
    RateState,
    RunDetail,
    RunRow,
    Seal,
    SeriesCount,
    StockName,
    StockSeries,
    StoredSlots,
    TaskError,
)
from shared.series import Series
from shared.session_map import (
    Detail,
    census,
    coverage,
    newest_sessions,
    problem_cells,
)
from shared.sessions import Calendar
from shared.verdicts import (
    REMEDIES,
    Judge,
    Reason,
    SeriesFacts,
    SessionFacts,
    State,
    Verdict,
)
from tests.support.builders import CALENDAR, a_candle, day, kst
from tests.support.reports import a_frame, a_report

FOLDER = Path(rendering.__file__).parent
TEMPLATES = sorted((FOLDER / "templates").glob("*.html"))
NOW = kst("2026-11-20 10:31:40")
TICK = Tick.of("*/5 9-20 * * 1-5", {"timeframe": "5m"})
SETTLE = Tick.of("30 7 * * *", {"timeframes": ["5m", "30m", "60m", "1d", "1w"]})
TICKS = [tick for tick in (TICK, SETTLE) if tick]
DUE = DueTimes(CALENDAR, TICKS)
M5 = Timeframe.MINUTE_5
SAMSUNG = StockName(code="005930", name="삼성전자")
THURSDAY, FRIDAY = day("2026-11-19"), day("2026-11-20")


# Words


def test_both_languages_have_the_same_words():
    assert words("ko").words.keys() == words("en").words.keys()
    for key, text in words("ko").words.items():
        assert re.findall(r"\{\w+\}", text) == sorted(
            re.findall(r"\{\w+\}", words("en").words[key]),
            key=re.findall(r"\{\w+\}", text).index,
        ), key


class _Text(HTMLParser):
    """What a reader would see, and the attributes that are read to him."""

    SPOKEN = ("aria-label", "placeholder", "title", "alt", "aria-roledescription")

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_data(self, data):
        self.found.append(data)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in self.SPOKEN and value]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_no_words_of_its_own(path):
    source = path.read_text(encoding="utf-8")
    source = re.sub(r"\{% block section %\}\w+\{%", "{%", source)
    plain = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.DOTALL)
    parser = _Text()
    parser.feed(plain)

    told = " ".join(parser.found).replace("TradeSmart", "").replace("AI", "")
    assert not re.findall(r"[^\W\d_]{2,}", told), told


def test_every_word_that_a_template_says_is_in_the_dictionary():
    keys = set(words("ko").words)
    for path in TEMPLATES:
        source = path.read_text(encoding="utf-8")
        for key in re.findall(r"\bt\('([\w.]+)'\s*[,)]", source):
            assert key in keys, f"{path.name}: {key}"
        for prefix in re.findall(r"\bt\('(\w+\.)'\s*~", source):
            assert any(key.startswith(prefix) for key in keys), prefix


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_what_is_replaced_while_one_looks_is_always_there_to_be_replaced(path):
    """What a condition takes away would stay for ever, or never come."""
    conditions = 0
    source = path.read_text(encoding="utf-8")
    for found in re.finditer(r"\{% (if|endif)\b|<[^>]*? data-live", source):
        conditions += {"if": 1, "endif": -1}.get(found[1] or "", 0)
        if found[1] is None:
            assert re.search(r' id="\w+"', found[0]), found[0]
            assert conditions == 0, found[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_and_reason_has_its_words(language):
    told = words(language).words

    assert {f"state.{state.value}" for state in State} <= told.keys()
    assert {f"reason.{reason.value}" for reason in Reason} <= told.keys()
    assert {f"cause.{c.value}" for c in Cause if c is not Cause.GAP} <= told.keys()
    assert {f"timeframe.{frame.value}" for frame in Timeframe} <= told.keys()


def test_every_remedy_is_told_in_korean_too():
    tasks = {cause.value for cause in TASK_REMEDIES}
    reasons = {reason.value for reason in REMEDIES}

    assert words("ko").remedies.keys() == remedies().keys() | reasons | tasks
    assert words("en").remedies == {}
    assert words("ko").remedy("kiwoom_1511", "") == words("ko").remedy(
        "kiwoom_rejected", ""
    )
    assert words("ko").remedy("kiwoom_8050", "") == words("ko").remedies["kiwoom_8050"]


@pytest.mark.parametrize("path", ["/stocks/005931", "/coverage/7m", "/?x=1", "/none"])
def test_a_page_tells_a_fault_in_its_own_language(path):
    korean, english = (
        client_of().get(f"{path}{'&' if '?' in path else '?'}lang={language}").text
        for language in LANGUAGES
    )

    remedy = re.compile(r'class="remedy"><b>.*?</b> (.*?)</p>')
    assert re.search("[가-힣]", remedy.findall(korean)[0])
    assert not re.search("[가-힣]", remedy.findall(english)[0])


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("limit=x", "<code>limit</code>: &#39;x&#39; is not a whole number"),
        ("colour=red", "<code>colour</code>: unknown parameter"),
    ],
)
def test_a_page_names_the_parameter_that_it_refuses(query, told):
    assert told in client_of().get(f"/runs?{query}&lang=en").text


# Files


def test_the_chart_library_is_the_one_that_was_published():
    vendor = json.loads((FOLDER / "static" / "vendor.json").read_text())

    assert (vendor["version"], vendor["license"]) == ("5.2.1", "Apache-2.0")
    assert len(vendor["sha256"]) == 2
    for name, digest in vendor["sha256"].items():
        content = (FOLDER / "static" / name).read_bytes()
        assert sha256(content).hexdigest() == digest, name
    notice = (FOLDER / "static" / "lightweight-charts.NOTICE.txt").read_text()
    assert "TradingView Lightweight Charts" in notice
    assert "https://www.tradingview.com/" in notice
    assert "tradingview.com" in (FOLDER / "templates" / "base.html").read_text()


def test_the_style_is_small_and_nothing_comes_from_elsewhere():
    assert len((FOLDER / "static" / "page.css").read_bytes()) <= 12_000
    for path in [*TEMPLATES, *(FOLDER / "static").glob("[!l]*.*s")]:
        source = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?:src|import|url)\W{1,3}https?:", source), path.name
        # A strict content security policy allows neither.
        assert " style=" not in source, path.name
        assert "<script>" not in source, path.name


def brightness(colour):
    """Relative luminance, as WCAG defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def themes():
    """The colours of both themes, by name."""
    css = (FOLDER / "static" / "page.css").read_text()
    blocks = re.findall(r":root(?:\[[^{]*|)? \{(.*?)\}", css, flags=re.DOTALL)[:2]
    for block in blocks:
        found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block))
        yield {
            name: c if len(c) == 7 else "#" + "".join(d + d for d in c[1:])
            for name, c in found.items()
        }


def test_text_stands_out_from_its_background():
    for theme in themes():
        for text, ground in [
            *(("fg", g) for g in ("bg", "card", "good-bg", "bad-bg", "unknown-bg")),
            *(("mute", g) for g in ("bg", "card")),
            *(("link", g) for g in ("bg", "card")),
            ("good", "good-bg"),
            ("bad", "bad-bg"),
            ("bad", "card"),
        ]:
            a, b = sorted((brightness(theme[text]), brightness(theme[ground])))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (text, ground)


# Vienot, Brettel and Mollon 1999, on linear RGB.
SEEN = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": (
        (0.11238, 0.88762, 0.0),
        (0.11238, 0.88762, -0.0),
        (0.00401, -0.00401, 1.0),
    ),
    "deutan": (
        (0.29275, 0.70725, 0.0),
        (0.29275, 0.70725, -0.0),
        (-0.02234, 0.02234, 1.0),
    ),
}


def lab(colour, seen):
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    linear = [sum(w * p for w, p in zip(row, linear, strict=True)) for row in seen]
    xyz = [
        sum(w * p for w, p in zip(row, linear, strict=True)) / white
        for row, white in (
            ((0.4124, 0.3576, 0.1805), 0.95047),
            ((0.2126, 0.7152, 0.0722), 1.0),
            ((0.0193, 0.1192, 0.9505), 1.08883),
        )
    ]
    f = [max(v, 0) ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


@pytest.mark.parametrize("vision", SEEN)
def test_states_differ_for_every_vision(vision):
    for theme in themes():
        seen = {s: lab(theme[s.value], SEEN[vision]) for s in State}
        for one in State:
            for other in State:
                if one < other:
                    apart = sum(
                        (a - b) ** 2
                        for a, b in zip(seen[one], seen[other], strict=True)
                    )
                    assert apart**0.5 >= 15, (one.name, other.name, apart**0.5)


def test_a_fault_stands_out_without_colours_too():
    for theme in themes():
        bright = {s: lab(theme[s.value], SEEN["usual"])[0] for s in State}
        for fault in (State.LATE, State.MISSING):
            for other in set(State) - {State.LATE, State.MISSING}:
                apart = abs(bright[fault] - bright[other])
                assert apart >= 12, (fault.name, other.name, apart)


def test_our_own_scripts_are_short():
    ours = ["chart.js", "grid.js", "map.js", "poll.js", "refresh.js"]
    lines = sum(
        len((FOLDER / "static" / name).read_text().splitlines()) for name in ours
    )
    assert lines <= 150


# The contract


def test_what_is_served_is_the_contract():
    """Run `python -m infra.make_openapi` after a change of the contract."""
    assert make_openapi.SERVED.read_text(encoding="utf-8") == make_openapi.served()


def test_no_comma_of_the_contract_begins_another_key():
    without_value = []

    def look(told):
        without_value.extend(key for key, value in told.items() if value is None)
        return told

    json.loads(make_openapi.served(), object_hook=look)

    assert without_value == []


class Reports:
    """What is reported, without a database."""

    def __init__(self, **values):
        self.values = values
        self.calls = []
        self.daily = self
        self.runs = SimpleNamespace(newest=self.newest_runs, of=self.run)

    def __getattr__(self, name):
        def answer(*arguments, **named):
            self.calls.append(name)
            value = self.values.get(name, EMPTY.get(name))
            if isinstance(value, Exception):
                raise value
            return value(*arguments, **named) if callable(value) else value

        return answer


EMPTY: dict[str, object] = {
    "accounts": [],
    "altered": set(),
    "snapshot": "1:1:",
    "stocks": [SAMSUNG],
    "series": [],
    "counts": {},
    "late_groups": [],
    "sessions": {},
    "marks": {},
    "days_without_trades": {},
    "rates": [],
    "broken_seals": [],
    "broken_seal": None,
    "doubts": [],
    "count_broken_seals": 1,
    "newest_runs": [],
    "newest": [],
    "of": None,
    "sealed": Sealed(digest="ab" * 32),
}


def services_of(prices="market", **values):
    return Services(
        prices=prices,
        reports=Reports(**values),
        calendar=lambda: CALENDAR,
        ticks=TICKS,
        clock=lambda: NOW,
    )


def client_of(**values):
    return new_app(services_of(**values)).test_client()


def test_every_path_of_the_contract_is_a_route_and_every_route_is_told():
    contract = json.loads(make_openapi.served())
    app = new_app(services_of())
    routes = {
        re.sub(r"<(\w+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
    }

    assert routes == set(contract["paths"])


def test_only_reading_is_allowed():
    for method in ("post", "put", "delete", "patch", "options"):
        answer = getattr(client_of(), method)("/api/status")
        assert answer.status_code == 405, method
        assert answer.content_type == "application/problem+json"
        assert answer.headers["Allow"] == "GET, HEAD"
        assert (
            answer.get_json(force=True)["remedy"]
            == (words("en").words["remedy.read_only"])
        )


@pytest.mark.parametrize(
    ("path", "status", "field", "remedy"),
    [
        ("/api/coverage/7m", 404, "timeframe", "5m"),
        ("/api/coverage/5m?sessions=251", 400, "sessions", "from 1 to 250"),
        ("/api/coverage/5m?sessions=1&sessions=2", 400, "sessions", "give it once"),
        ("/api/coverage/5m?start=2026-02-30", 400, "start", "2026-01-31"),
        ("/api/coverage/5m?start=2026-02-02&end=2026-02-02", 400, "end", "later"),
        ("/api/coverage/5m?stocks=00593", 400, "stocks", "six digits"),
        ("/api/coverage/5m?stocks=005931", 404, "stock", "005930"),
        ("/api/coverage/5m?colour=red", 400, "colour", "sessions"),
        ("/api/series/005931/5m", 404, "stock", "005930"),
        ("/api/series/삼성/5m", 404, "stock", "005930"),
        ("/api/slots/005930/5m/noon", 400, "instant", "2026-01-31T09:00"),
        ("/api/sessions/005930/5m/2026-13-01", 400, "session", "2026-01-31"),
        ("/api/runs?limit=0", 400, "limit", "from 1 to 200"),
        ("/api/reports?limit=367", 400, "limit", "from 1 to 366"),
        ("/api/reports?before=yesterday", 400, "before", "2026-01-31"),
        ("/api/reports/2026-11-31", 400, "date", "2026-01-31"),
        ("/api/reports/2026-11-20", 404, "report", "21:15"),
        ("/api/candles/005930/1d?settled=yes", 400, "settled", "true, false"),
        ("/api/candles/005930/1d?limit=5001", 400, "limit", "5,000"),
        ("/api/status?x=%00", 400, "x", "leave it out"),
        # Nothing is like them, and still something is nearest.
        ("/api/series/XYZQ/5m", 404, "stock", "005930"),
        ("/api/coverage/xyz", 404, "timeframe", "did you mean"),
        # At the ends of what a computer can tell of time.
        ("/api/slots/005930/5m/9999-12-31T23:59Z", 404, "instant", "the calendar"),
        ("/api/slots/005930/5m/0001-01-01T00:00", 404, "instant", "the calendar"),
        ("/api/sessions/005930/5m/1900-01-01", 404, "session", "mean 202"),
        ("/api/sessions/005930/5m/9999-12-31", 404, "session", "mean 2026-11-20"),
        # What is near to a day is near in time, however it is written.
        (
            "/api/sessions/005930/1w/2026-11-18",
            404,
            "session",
            "2026-11-16, 2026-11-09",
        ),
        (
            "/api/sessions/005930/5m/2015-05-05",
            404,
            "session",
            "2015-05-04, 2015-05-06",
        ),
        ("/api/runs/%00", 404, "run", "/runs"),
    ],
)
def test_a_bad_request_names_its_field_and_the_remedy(path, status, field, remedy):
    def series(frames, behind, codes=()):
        return [series_of()] if codes == [SAMSUNG.code] else []

    answer = client_of(series=series).get(path)

    told = answer.get_json(force=True)
    assert (answer.status_code, told["field"]) == (status, field)
    assert remedy in told["remedy"]
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("start=0001-01-01", 5),
        ("end=0001-01-01", 0),
        ("cursor=0001-01-01T00:00", 5),
        ("cursor=9999-12-31T23:59:59.999999Z", 0),
    ],
)
def test_a_range_may_reach_beyond_all_that_is_known(query, found):
    candles, _ = paged(5)
    answer = client_of(candles=candles).get(f"/api/candles/005930/1d?{query}")

    assert answer.status_code == 200
    assert len(answer.get_json()["candles"]) == found


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/api/status", "/api"])
def test_programs_are_told_a_fault_as_json(path):
    answer = client_of().get(f"{path}?x=1")
    is_page = path == "/api"

    assert answer.status_code == (404 if is_page else 400)
    assert (answer.content_type == "application/problem+json") is not is_page
    assert "Refresh" not in answer.headers
    assert "Retry-After" not in answer.headers


def test_an_instance_that_lacks_a_setting_says_which(monkeypatch):
    def wire():
        raise ConfigError("DATABASE_URL is missing")

    lines = []
    monkeypatch.setattr(main, "wire", wire)
    monkeypatch.setattr(
        main, "log_event", lambda event, **facts: lines.append((event, facts["reason"]))
    )

    answer = main.show_status(SimpleNamespace(environ={}))

    assert answer.status_code == 503
    assert answer.content_type == "application/problem+json"
    assert answer.get_json(force=True)["detail"] == "DATABASE_URL is missing"
    assert lines == [(Event.MISCONFIGURED, "DATABASE_URL is missing")]


def test_what_the_page_cannot_say_tells_why_and_nothing_of_the_database():
    def detail(error):
        return problem_of(error, words("en")).detail

    assert "secret" not in detail(DatabaseUnavailable("secret host"))
    for error in (CalendarMissing("load it"), ConfigError("PRICES is missing")):
        assert detail(error) == str(error)


def test_a_bug_is_logged_and_tells_nothing_of_itself(caplog, monkeypatch):
    told = []
    monkeypatch.setattr(
        page_app, "log_event", lambda *event, **facts: told.append(event)
    )
    services = services_of(snapshot=ValueError("a secret"))

    answer = new_app(services).test_client().get("/api/status")

    assert answer.status_code == 500
    assert "a secret" not in answer.text
    assert "a secret" in caplog.text
    assert told == [(Event.UNFORESEEN,)]


@pytest.mark.parametrize(
    "path",
    [
        "/api/coverage/5m",
        "/api/series/005930/5m",
        "/api/sessions/005930/5m/2026-11-19",
        "/api/slots/005930/5m",
        "/api/slots/005930/5m/2026-11-19T09:00",
        "/api/candles/005930/5m",
        "/api/runs",
        "/api/runs/r",
        "/api/reports",
        "/api/reports/2026-11-20",
        "/stocks",
        "/assets/0/map.js",
    ],
)
def test_a_parameter_that_is_not_known_is_refused_everywhere(path):
    assert client_of().get(f"{path}?x=1").status_code == 400


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("sessions=250", 200),
        ("sessions=0x9", 400),
        ("sessions=007", 400),
        ("counts=yes", 400),
        ("counts=", 400),
        ("counts=false", 200),
        ("start=20261120", 400),
        ("stocks=005930,005930", 200),
        ("stocks=", 400),
        ("start=%00", 400),
    ],
)
def test_a_parameter_is_taken_as_the_contract_says(query, status):
    assert client_of().get(f"/api/coverage/5m?{query}").status_code == status


def test_how_many_candles_there_are_is_read_and_told_only_where_it_is_asked():
    asked = []

    def sessions(frame, start, last, codes, detail):
        asked.append(detail)
        return {}

    client = client_of(series=[series_of()], sessions=sessions)
    for query, detail in (
        ("", Detail.LETTERS),
        ("?counts=false", Detail.LETTERS),
        ("?counts=true", Detail.COUNTS),
    ):
        asked.clear()
        (stock,) = client.get(f"/api/coverage/5m{query}").get_json()["stocks"]
        assert asked[0] is detail
        assert ("candles" in stock) is (detail is Detail.COUNTS)


def test_slots_are_told_of_no_more_than_60_sessions():
    client = client_of()
    assert client.get("/api/slots/005930/5m?sessions=61").status_code == 400


def test_what_no_one_can_have_stored_is_refused_before_it_is_looked_up():
    told = client_of().get("/api/runs?before=%00").get_json()
    assert told["remedy"] == words("en").words["remedy.not_storable"]
    told = client_of().get("/api/coverage/5m?stocks=%00").get_json()
    assert told["remedy"] == words("en").words["remedy.not_storable"]


def test_a_range_has_250_sessions_and_no_more():
    longer = newest_sessions(Judge(DUE, M5, NOW), 251)

    def status_from(start):
        return client_of().get(f"/api/coverage/5m?start={start}").status_code

    assert [status_from(start) for start in longer[:2]] == [400, 200]


def test_what_is_wrong_is_repeated_no_longer_than_it_has_to_be():
    told = client_of().get(f"/api/status?{'x' * 500}=1").get_json()
    assert len(told["field"]) == 80
    told = client_of().get(f"/api/runs?before={'x' * 500}").get_json()
    assert len(told["detail"]) < 200


def test_so_many_stocks_can_be_asked_for_and_no_more(monkeypatch):
    asked = []

    def series(frames, behind, codes):
        asked.append(codes)
        return []

    stocks = [StockName(code=f"{n:06}", name="?") for n in range(3)]
    monkeypatch.setattr(page_api, "MOST_CODES", 2)
    client = client_of(stocks=stocks, series=series)
    codes = "000002,000000,000002"

    assert client.get(f"/api/coverage/5m?stocks={codes}").status_code == 200
    assert asked == [["000002", "000000"]]
    told = client.get(f"/api/coverage/5m?stocks={codes},000001")
    assert (told.status_code, told.get_json()["field"]) == (400, "stocks")


def test_a_timeframe_may_have_the_name_that_messages_give_it():
    assert client_of().get("/api/coverage/M5").get_json()["timeframe"] == "5m"
    assert "M5" in client_of().get("/api/coverage/M6").get_json()["remedy"]


def test_a_stock_is_found_by_a_part_of_its_name():
    stocks = [StockName(code=f"00000{n}", name=f"전자 {n}") for n in range(5)]
    client = client_of(stocks=[*stocks, SAMSUNG])

    def remedy(code):
        return client.get(f"/api/series/{code}/5m").get_json()["remedy"]

    assert "005930?" in remedy("삼성")
    assert remedy("전자").count("00000") == 3


@pytest.mark.parametrize(
    "at", ["2026-11-19T09:00", "2026-11-19T00:00Z", "2026-11-19T09:00+09:00"]
)
def test_an_instant_may_be_written_with_its_offset_or_without(at):
    asked = []
    client = client_of(newest_runs=lambda limit, since: asked.append(since) or [])

    client.get(f"/api/runs?before={at}")

    assert asked == [kst("2026-11-19 09:00")]


def days_of(**values):
    judge = Judge(DUE, values.pop("timeframe", M5), NOW)
    known = {"start": None, "end": None, "count": 60, **values}
    return page_api.chosen_days(judge, **known)


def test_a_range_of_days_is_half_open_and_ends_with_the_newest_session():
    monday, tuesday = day("2026-11-16"), day("2026-11-17")

    assert days_of(start=monday, end=WEDNESDAY) == [monday, tuesday]
    assert days_of(start=THURSDAY) == [THURSDAY, FRIDAY]
    assert days_of(start=THURSDAY, end=day("2026-12-31")) == [THURSDAY, FRIDAY]
    assert days_of(end=WEDNESDAY, count=2) == [monday, tuesday]
    assert days_of(count=1) == [FRIDAY]
    assert days_of(end=day("9999-12-31"), count=1) == [FRIDAY]
    weeks = days_of(end=WEDNESDAY, count=60, timeframe=Timeframe.WEEK_1)
    assert (len(weeks), weeks[-1]) == (60, monday)
    # Before the calendar begins there is nothing.
    first = CALENDAR.first
    assert days_of(end=first) == []
    assert days_of(end=first + timedelta(days=9))[0] >= first
    start = first - timedelta(days=999)
    assert days_of(start=start, end=first + timedelta(days=9))[0] >= first


def test_a_run_of_an_impossible_name_is_not_looked_up():
    def run(run_id):
        pytest.fail(run_id)

    client = client_of(run=run)
    for run_id in ("r" * 201, "%00"):
        assert client.get(f"/api/runs/{run_id}").status_code == 404


def test_runs_are_told_page_by_page():
    runs = [replace(a_run(), written_at=NOW - timedelta(seconds=n)) for n in range(3)]
    asked = []

    def newest(limit, since):
        asked.append((limit, since))
        return runs[:limit]

    told = client_of(newest_runs=newest).get("/api/runs?limit=2").get_json()
    assert len(told["runs"]) == 2
    assert asked == [(3, None)]
    # To the microsecond: two runs may be recorded in one second.
    assert told["next"].endswith("before=2026-11-20T10%3A31%3A39%2B09%3A00")
    assert "next" not in client_of(newest_runs=newest).get("/api/runs?limit=3").json


def test_where_there_are_no_parameters_none_is_offered():
    told = client_of().get("/api/status?x=1").get_json()
    assert told["remedy"] == "leave it out: there are none here"
    told = client_of().get("/api/runs?x=1").get_json()
    assert told["remedy"] == "give one of: limit, before"


def test_without_a_database_nothing_is_said_of_the_data():
    down = DatabaseUnavailable("no answer")
    services = services_of()
    app = new_app(services)
    first = app.test_client().get("/api/status")
    services.reports.values["snapshot"] = down

    for path in ("/api/status", "/", "/coverage/5m"):
        answer = app.test_client().get(path, headers={"If-None-Match": "*"})
        assert answer.status_code == 503, path
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers.get("Refresh") == (None if "api" in path else "15")
        assert "예" not in answer.get_data(as_text=True).split("<h1>")[-1][:40]
    assert first.status_code == 200
    assert app.test_client().get("/healthz").status_code == 200


def test_an_answer_that_did_not_change_is_not_sent_again():
    services = services_of()
    client = new_app(services).test_client()
    first = client.get("/api/status")
    again = client.get("/api/status", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
    for name in ("ETag", "Cache-Control", "Vary"):
        assert again.headers[name] == first.headers[name]
    # The compressed answer is the same one, and neither may be taken unasked.
    assert first.headers["ETag"].startswith('W/"')
    assert first.headers["Cache-Control"] == "no-cache"
    assert first.headers["Vary"] == "Accept-Encoding, Accept-Language, Accept"
    # One query tells that nothing was committed.
    assert services.reports.calls[-1] == "snapshot"
    services.reports.values["snapshot"] = "2:2:"
    changed = client.get(
        "/api/status", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert changed.status_code == 200


def test_an_answer_is_of_one_address_and_one_language():
    client = client_of(counts=counts())

    def etag(path, **headers):
        return client.get(path, headers=headers).headers["ETag"]

    addresses = ("/", "/?theme=dark", "/runs", "/api/runs", "/api/runs?limit=1")
    answers = [etag(path) for path in addresses]
    answers.append(etag("/", **{"Accept-Language": "en"}))
    assert len(set(answers)) == len(answers)


@pytest.mark.parametrize("path", ["/api/status", "/api/coverage/5m"])
def test_two_viewers_cost_no_more_than_one(path):
    services = services_of(series=[series_of()])
    client = new_app(services).test_client()
    first = client.get(path)
    services.reports.calls.clear()

    assert client.get(path).data == first.data
    assert services.reports.calls == ["snapshot"]


def test_what_takes_long_is_computed_one_after_another():
    def series(*_):
        alone.append(services.answers.heavy.locked())
        return [series_of()]

    alone = []
    services = services_of(series=series)
    client = new_app(services).test_client()
    path = "/api/coverage/5m"
    client.get(path)

    assert alone
    assert all(alone)

    class Waiting:
        """A caller that waited for the lock uses the answer computed meanwhile."""

        def __enter__(self):
            services.answers.put(etag, kept)

        def __exit__(self, *_):
            pass

    etag = client.get(path).headers["ETag"].removeprefix('W/"').rstrip('"')
    kept = services.answers.get(etag)
    services.answers.__init__()
    services.answers.heavy = Waiting()
    alone.clear()
    assert client.get(path).data == kept.body
    assert not alone


def test_the_answers_that_were_asked_for_last_are_kept():
    cache = AnswerCache()
    for n in range(MOST_KEPT):
        cache.put(f"{n}", f"answer {n}")
    cache.get("0")
    cache.put("new", "answer")

    assert [bool(cache.get(etag)) for etag in ("0", "1", "2", "new")] == [
        True,
        False,
        True,
        True,
    ]


def test_what_is_short_is_sent_as_it_is():
    client = client_of(series=[series_of()])
    answer = client.get(
        "/api/coverage/5m?sessions=1", headers={"Accept-Encoding": "gzip"}
    )

    assert "Content-Encoding" not in answer.headers
    assert SAMSUNG.name.encode() in answer.data


@pytest.mark.parametrize("path", ["/api/status", "/", "/api/candles/005930/1d"])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_head_tells_what_would_be_sent(path, encoding):
    candles, _ = paged(200)
    client = client_of(candles=candles)
    headers = {"Accept-Encoding": encoding}

    head, body = (ask(path, headers=headers) for ask in (client.head, client.get))

    assert head.data == b""
    assert dict(head.headers) == dict(body.headers)
    assert int(head.headers["Content-Length"]) == len(body.data)


def test_every_answer_has_the_headers_of_security_and_no_cookie():
    for path in ("/", "/api/status", "/nothing", rendering.static_path("page.css")):
        headers = client_of().get(path).headers
        assert headers["Content-Security-Policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; "
            "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
            "form-action 'self'; frame-ancestors 'none'"
        ), path
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in headers


def test_static_files_are_kept_forever_and_only_under_their_hash():
    client = client_of()
    kept = client.get(rendering.static_path("map.js"))

    assert "immutable" in kept.headers["Cache-Control"]
    assert kept.content_type.startswith("text/javascript")
    assert client.get("/assets/0123456789ab/map.js").status_code == 404
    assert client.get("/static/map.js").status_code == 404
    assert client.get(rendering.static_path("vendor.json")).status_code == 404


def test_what_is_long_is_compressed():
    client = client_of()
    plain = client.get(rendering.static_path("map.js"))
    packed = client.get(
        rendering.static_path("map.js"), headers={"Accept-Encoding": "gzip"}
    )

    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert len(packed.data) < len(plain.data) / 2


@pytest.mark.parametrize("accepted", ["gzip;q=0", "identity", "*;q=0", ""])
def test_who_refuses_compression_is_given_none(accepted):
    answer = client_of().get(
        rendering.static_path("map.js"), headers={"Accept-Encoding": accepted}
    )

    assert "Content-Encoding" not in answer.headers


def test_language_and_theme_are_chosen_by_the_url_or_the_browser():
    client = client_of()
    english = {"Accept-Language": "en-GB,en;q=0.9"}

    assert 'lang="en"' in client.get("/", headers=english).text
    assert 'lang="ko"' in client.get("/?lang=ko", headers=english).text
    dark = client.get("/?theme=dark").text
    assert 'data-theme="dark"' in dark
    # What was chosen goes along.
    assert 'href="/runs?theme=dark"' in dark
    assert client.get("/?lang=fr").status_code == 400


def test_a_link_has_what_was_chosen_and_what_is_known():
    with new_app(services_of()).test_request_context("/runs?theme=dark&limit=9"):
        look = rendering.Look(None)

        assert look.link("/runs", q="a", before=None) == "/runs?q=a&theme=dark"
        assert look.here(lang="en") == "/runs?theme=dark&limit=9&lang=en"
    french = {"Accept-Language": "fr"}
    assert 'lang="ko"' in client_of().get("/", headers=french).text


def test_instants_are_told_in_seoul_and_of_another_day_with_the_day():
    early = kst("2026-11-20 00:30").astimezone(UTC)

    assert rendering._clock(early, NOW.astimezone(UTC)) == "00:30"
    assert rendering._clock(early - timedelta(hours=1), NOW) == "11-19 23:30"
    assert rendering._clock(None, NOW) == "-"
    assert rendering._kst(early) == "2026-11-20 00:30"
    assert views.seoul(early.replace(microsecond=5)) == "2026-11-20T00:30:00+09:00"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (59, "0 minutes"),
        (7_199, "119 minutes"),
        (7_200, "2 hours"),
        (172_800, "2 days"),
    ],
)
def test_an_age_is_told_in_the_largest_unit_of_which_there_are_two(seconds, told):
    assert rendering._age(words("en"), seconds) == words("en")(
        f"age.{told.split()[1]}", count=int(told.split()[0])
    )


def test_an_answer_holds_for_half_a_minute_and_as_long_as_the_token():
    services = services_of()
    since = kst("2026-11-20 10:30:00")

    def state(seconds, token=None):
        object.__setattr__(
            services, "clock", lambda: since + timedelta(seconds=seconds)
        )
        object.__setattr__(services, "token_created_at", lambda: token)
        return services.state()

    assert state(0) == state(29) != state(30)
    assert state(0) != state(0, NOW)


def test_a_code_that_is_none_is_looked_up_nowhere():
    def series(frames, behind, codes):
        asked.append((behind, codes))
        return [series_of()]

    asked = []
    client = client_of(series=series)

    assert client.get("/api/series/00%00593/5m").status_code == 404
    assert asked == []
    client.get("/api/series/005930/5m")
    assert asked[0] == (FRIDAY, ["005930"])


def test_every_page_says_that_its_prices_are_made_up():
    for prices, told in (("simulated", "Simulated"), ("recorded", "Recorded")):
        client = client_of(prices=prices)
        for path in ("/?lang=en", "/runs?lang=en", "/coverage/5m?lang=en"):
            assert f">{told} prices<" in client.get(path).text
    assert " prices<" not in client_of().get("/?lang=en").text


def test_a_name_is_text_whatever_it_contains():
    evil = StockName(code="005930", name='<script>alert(1)</script>"')
    series = StockSeries(
        stock=evil, timeframe=Timeframe.DAY_1, facts=SeriesFacts(series=Series())
    )

    page = client_of(stocks=[evil], series=[series]).get("/stocks").text

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


# Candles


def paged(count, *, broken_after=None):
    """A series of days, read page by page; and what was asked for."""
    opens = [kst("2024-01-02") + timedelta(days=n) for n in range(count)]
    asked = []

    def candles(code, frame, first, beyond, *, session, settled, limit):
        asked.append(limit)
        if len(asked) == broken_after:
            raise DatabaseUnavailable("no answer")
        found = [at for at in opens if first <= at < beyond]
        return CandlePage(
            candles=[
                a_candle(stock_code=code, timeframe=frame, opened_at=at)
                for at in found[:limit]
            ],
            settled_through=None,
            more=len(found) > limit,
        )

    return candles, asked


CSV = {"Accept": "text/csv"}


def test_csv_has_all_candles_and_holds_one_page_at_a_time(monkeypatch):
    monkeypatch.setattr(csv_candles, "MOST_CANDLES", 10)
    candles, asked = paged(35)
    answer = client_of(candles=candles).get(
        "/api/candles/005930/1d", headers=CSV, buffered=False
    )
    lines = iter(answer.response)

    assert (next(lines), len(asked)) == (b",".join(HEADER) + b"\n", 1)
    assert next(lines).count(b"\n") == 10
    assert len(asked) == 1
    rest = b"".join(lines).splitlines()
    assert len({line.partition(b",")[0] for line in rest}) == 25
    assert asked == [10, 10, 10, 10]


HEADER = [name.encode() for name in csv_candles.COLUMNS]


def test_a_limit_of_csv_is_told_by_a_link_to_what_follows():
    candles, _ = paged(5)
    client = client_of(candles=candles)
    found, url = [], "/api/candles/005930/1d?limit=2"
    while url:
        answer = client.get(url, headers=CSV)
        found += answer.text.splitlines()[1:]
        url = (answer.headers.get("Link") or "").partition(">")[0][1:]

    assert len({*found}) == len(found) == 5


def test_a_link_chooses_the_form_that_a_header_would():
    candles, _ = paged(3)
    client = client_of(candles=candles)
    path = "/api/candles/005930/1d"

    by_link = client.get(f"{path}?format=csv", headers={"Accept": "text/html"})
    assert by_link.data == client.get(path, headers=CSV).data
    assert client.get(f"{path}?format=json", headers=CSV).is_json
    assert client.get(f"{path}?format=xml").status_code == 400
    page = stock_page("/stocks/005930?timeframe=5m")
    assert 'href="/api/candles/005930/5m?format=csv"' in page


def test_candles_are_told_with_what_is_known_of_them():
    found = [
        a_candle("2026-11-19", turnover=700_000),
        a_candle("2026-11-20"),
    ]
    asked = []

    def candles(code, frame, first, beyond, **values):
        asked.append((first, beyond, values))
        return CandlePage(candles=found, settled_through=THURSDAY, more=True)

    client = client_of(candles=candles)
    path = "/api/candles/005930/1d?start=2026-11-17"

    told = client.get(f"{path}&cursor=2026-11-10T00:00").get_json()
    assert [each["is_settled"] for each in told["candles"]] == [True, False]
    assert told["next"].startswith("http://localhost/api/candles/005930/1d?start=")
    assert "cursor=2026-11-20T00%3A00%3A00%2B09%3A00" in told["next"]
    lines = client.get(f"{path}&limit=2&session=after&settled=true", headers=CSV).text
    assert [line.split(",")[-3:] for line in lines.splitlines()[1:]] == [
        ["700000", "regular", "true"],
        ["", "regular", "false"],
    ]
    # A cursor leads on, never back; today is among what is served.
    first, beyond = kst("2026-11-17"), kst("2026-11-21")
    assert [each[:2] for each in asked] == [(first, beyond)] * 2
    assert asked[0][2] == {"session": None, "settled": False, "limit": 1_000}
    assert asked[1][2] == {"session": "after", "settled": True, "limit": 2}
    for wrong in ("start=2026-11-19&end=2026-11-19", "limit=0"):
        assert client.get(f"/api/candles/005930/1d?{wrong}").status_code == 400
    image = client.get("/api/candles/005930/1d", headers={"Accept": "image/png"})
    assert image.status_code == 406


def test_a_stream_without_a_limit_has_no_page_that_follows(monkeypatch):
    monkeypatch.setattr(csv_candles, "MOST_CANDLES", 10)
    candles, _ = paged(35)

    answer = client_of(candles=candles).get("/api/candles/005930/1d", headers=CSV)

    assert "Link" not in answer.headers


def test_a_stream_is_compressed_as_it_comes(monkeypatch):
    monkeypatch.setattr(csv_candles, "MOST_CANDLES", 10)
    candles, asked = paged(35)
    client = client_of(candles=candles)
    packed = client.get(
        "/api/candles/005930/1d",
        headers=CSV | {"Accept-Encoding": "gzip"},
        buffered=False,
    )
    assert asked == [10]
    candles, _ = paged(35)

    assert packed.headers["Content-Encoding"] == "gzip"
    plain = client_of(candles=candles).get("/api/candles/005930/1d", headers=CSV)
    assert gzip.decompress(packed.data) == plain.data


def test_a_stream_that_breaks_is_not_taken_for_the_whole(monkeypatch):
    monkeypatch.setattr(csv_candles, "MOST_CANDLES", 10)
    candles, _ = paged(35, broken_after=2)

    answer = client_of(candles=candles).get("/api/candles/005930/1d", headers=CSV)
    with pytest.raises(DatabaseUnavailable):
        _ = answer.data
    candles, _ = paged(35, broken_after=1)
    first = client_of(candles=candles).get("/api/candles/005930/1d", headers=CSV)
    assert first.status_code == 503


def test_csv_that_did_not_change_is_not_sent_again():
    candles, asked = paged(5)
    client = client_of(candles=candles)
    first = client.get("/api/candles/005930/1d", headers=CSV)
    headers = CSV | {"If-None-Match": first.headers["ETag"]}

    assert client.get("/api/candles/005930/1d", headers=headers).status_code == 304
    assert len(asked) == 1


# What is judged


def judged(**values):
    services = services_of(**values)
    return overview(services.reports, services.gaps, DUE, NOW)


def counts(late=0, total=30):
    return {
        frame: SeriesCount(total=total, late=late if frame == "5m" else 0)
        for frame in Timeframe
    }


def test_all_is_here_if_nothing_is_late_missing_or_broken():
    assert judged(counts=counts()).is_complete


def test_a_week_reaches_through_its_last_session():
    tiles = {tile.timeframe: tile for tile in judged(counts=counts()).tiles}

    assert tiles[Timeframe.WEEK_1].through == kst("2026-11-16")
    assert tiles[Timeframe.WEEK_1].through_day == day("2026-11-13")
    assert tiles[Timeframe.DAY_1].through_day == THURSDAY


def test_of_many_late_stocks_three_are_named():
    stocks = [replace(SAMSUNG, name=name) for name in ("A", "B", "C")]
    groups = [replace(LATE_GROUP, count=1_400, examples=stocks)]

    page = client_of(counts=counts(late=1_400, total=2_700), late_groups=groups)
    told = re.sub("<[^>]*>", "", page.get("/?lang=en").text)

    assert "A, B, C and 1,397 more" in told


def test_without_a_target_not_all_is_here():
    assert not judged(counts={}).is_complete


LATE_GROUP = LateGroup(
    timeframe=Timeframe.MINUTE_5,
    never_loaded=False,
    state="failed",
    error_code="kiwoom_unavailable",
    error_message="no answer",
    run_id="run-1",
    count=1,
    examples=(SAMSUNG,),
    asked_at=None,
)


@pytest.mark.parametrize(
    ("state", "cause", "remedy"),
    [
        # As where the collector of a timeframe is stopped.
        ("queued", Cause.QUEUED, "the collector of its timeframe runs"),
        ("running", Cause.WAITING, "its task is at work"),
        ("done", Cause.NO_TASK, "the dispatcher runs"),
        (None, Cause.NO_TASK, "the schedules are not paused"),
    ],
)
def test_a_task_without_an_error_tells_what_to_look_at(state, cause, remedy):
    group = replace(LATE_GROUP, state=state, error_code=None, error_message=None)
    (problem,) = judged(counts=counts(late=1), late_groups=[group]).problems

    assert problem.cause is cause
    assert remedy in problem.remedy
    code = cause if cause in TASK_REMEDIES else Reason.NOT_ASKED_SINCE
    assert problem.remedy_code == code
    page = client_of(counts=counts(late=1), late_groups=[group]).get("/?lang=ko").text
    assert escape(words("ko").remedies[code]) in page


def test_late_comes_before_missing_and_the_newest_and_largest_come_first():
    weeks = replace(LATE_GROUP, timeframe=Timeframe.WEEK_1, count=99)
    groups = [replace(LATE_GROUP, count=n) for n in range(1, 12)]
    short = {THURSDAY: SessionFacts(SETTLED[THURSDAY].candles - 1)}
    services = of_minutes(SETTLED | short, 0, late_groups=[weeks, *groups])
    services.reports.values["counts"] = counts(late=1)

    def told():
        return [(p.verdict.state, p.series) for p in seen_by(services).problems]

    assert told() == [(State.LATE, n) for n in range(11, 1, -1)]
    services.reports.values["late_groups"] = [weeks, groups[0]]
    assert told() == [(State.LATE, 1), (State.LATE, 99), (State.MISSING, 1)]


def test_why_series_are_late_is_asked_only_where_some_are():
    services = services_of(counts=counts())
    seen_by(services)

    assert "late_groups" not in services.reports.calls


def test_a_tile_tells_how_far_its_series_are():
    half = {M5: SeriesCount(total=30, late=12, settled_through=THURSDAY)}
    services = services_of(counts=half)
    # The tick of 10:30 still has its time.
    now = kst("2026-11-20 10:30:40")
    tile = overview(services.reports, services.gaps, DUE, now).tiles[0]

    assert (tile.fresh, tile.settled_through) == (18, THURSDAY)
    assert tile.through == kst("2026-11-20 10:20")
    assert tile.next_tick_at == kst("2026-11-20 10:35")


def test_one_late_series_is_enough_to_say_no():
    found = judged(counts=counts(late=1), late_groups=[LATE_GROUP])

    assert (found.is_complete, found.late) == (False, 1)
    (problem,) = found.problems
    assert (problem.cause, problem.series) == (Cause.ERROR, 1)
    assert "broker is down" in problem.remedy
    assert problem.remedy_code == "kiwoom_unavailable"
    assert (problem.run_id, problem.error_message) == ("run-1", "no answer")
    assert problem.verdict.reason is Reason.NOT_ASKED_SINCE
    assert problem.at == kst("2026-11-20 10:30")
    never = replace(LATE_GROUP, never_loaded=True)
    (problem,) = judged(counts=counts(late=1), late_groups=[never]).problems
    assert problem.verdict.reason is Reason.NEVER_LOADED


def a_broken_seal():
    return BrokenSeal(
        stock=SAMSUNG,
        timeframe=Timeframe.MINUTE_5,
        session_date=THURSDAY,
        sealed=104,
        found=103,
        found_at=NOW,
    )


def test_a_broken_seal_is_enough_to_say_no():
    seal = a_broken_seal()
    known = {"counts": counts(), "broken_seals": [seal], "count_broken_seals": 1_500}

    assert not judged(**known).is_complete
    page = client_of(**known).get("/?lang=en").text
    # The newest are named, and all of them counted.
    assert "1,500 seals are broken" in page
    assert "Only the newest 1 are shown." in page
    assert 'href="/coverage/5m/005930/2026-11-19?lang=en"' in page


def test_a_problem_comes_with_the_message_that_fetches_what_is_not_there():
    def message(count=1, *, missing=False, **known):
        problem = Problem(
            verdict=replace(
                Verdict.late(Reason.NEVER_LOADED, NOW),
                reason=Reason.UNEXPLAINED if missing else Reason.NEVER_LOADED,
            ),
            timeframe=Timeframe.MINUTE_5,
            at=NOW,
            series=count,
            stocks=[SAMSUNG],
            candles=int(missing),
            **known,
        )
        return problem.trigger and json.loads(problem.trigger)

    assert message() == {"timeframe": "5m", "stocks": ["005930"]}
    assert message(missing=True) == {
        "timeframe": "5m",
        "mode": "repair",
        "stocks": ["005930"],
    }
    # Where not all stocks are named, all targets are fetched.
    assert message(2) == {"timeframe": "5m"}
    assert message(state="running") is None
    assert message(error_code="kiwoom_8050") is None


@pytest.mark.parametrize("reason", list(MODES))
def test_the_message_of_a_reason_is_a_trigger(reason):
    message = trigger_of(reason, Timeframe.WEEK_1, ["005930"])

    assert Trigger.from_bytes(message.encode()).stocks == ("005930",)


@pytest.mark.parametrize(("frame", "end"), [("5m", FRIDAY), ("1d", None)])
def test_the_message_of_a_broken_seal_reads_its_range_again(frame, end):
    seal = replace(a_broken_seal(), timeframe=Timeframe(frame))

    trigger = Trigger.from_bytes(verify_of(seal).encode())

    assert (trigger.mode, trigger.start, trigger.end) == ("verify", THURSDAY, end)


def test_a_broken_seal_comes_with_its_message():
    page = client_of(
        counts=counts(), broken_seals=[a_broken_seal()], count_broken_seals=1
    ).get("/?lang=en")

    assert escape(verify_of(a_broken_seal())) in page.text


def test_the_api_tells_the_messages_that_the_page_shows():
    known = {
        "counts": counts(late=2),
        "late_groups": [
            replace(LATE_GROUP, never_loaded=True, state=None, error_code=None)
        ],
        "broken_seals": [a_broken_seal()],
    }
    client = client_of(**known, count_broken_seals=1)

    told, page = client.get("/api/status").get_json(), client.get("/").text

    shown = [each["message"] for each in told["problems"] + told["broken_seals"]]
    assert [json.loads(message).get("mode") for message in shown] == [None, "verify"]
    assert all(escape(message) in page for message in shown)


def facts(**values):
    known = {
        "covered_from": day("2026-11-02"),
        "settled_through": THURSDAY,
        "oldest": day("2026-11-02"),
        "newest": kst("2026-11-20 10:25"),
    }
    return SeriesFacts(
        series=Series(**known | values), asked_at=kst("2026-11-20 10:30:02")
    )


def series_of(**values):
    return StockSeries(
        stock=SAMSUNG, timeframe=Timeframe.MINUTE_5, facts=facts(**values)
    )


def stock_page(
    path="/stocks/005930?timeframe=5m&lang=en", *, failed=None, candles=None, **history
):
    """The page of a stock to which that has happened."""
    reports = {
        "series": lambda frames, *_: [replace(series_of(), timeframe=frames[0])],
        "candles": candles or CandlePage(candles=[], settled_through=None, more=False),
        "history": History(**history),
        "last_error": failed,
    }
    return client_of(**reports).get(path).text


def test_the_error_of_the_last_task_comes_with_its_remedy():
    failed = TaskError(
        run_id="r" * 36,
        state="failed",
        error_code="kiwoom_unavailable",
        error_message="ka10080: HTTP 500",
    )

    told = re.findall(r'class="remedy"><b>.*?</b> (.*?)</p>', stock_page(failed=failed))

    assert told[-1] == KiwoomUnavailable.remedy


def heads(page):
    return re.findall(r'<th scope="col"[^>]*>(.*?)</th>', page)


def test_what_may_be_wrong_stands_in_the_columns_that_a_phone_shows():
    runs = client_of(newest_runs=[a_run()]).get("/runs?lang=en").text
    _, series = stock_page().split('id="series"')

    assert heads(runs)[:2] == ["Requested", "State"]
    assert heads(series)[:3] == ["Timeframe", "Missing", "Late"]


def refused(at, run_id="r" * 36):
    return QuarantinedRow(
        opened_at=kst(at), reason="closed", refused_at=NOW, run_id=run_id
    )


def test_the_rows_of_one_day_in_quarantine_are_told_together():
    rows = [refused(f"2026-11-19 09:{minute}") for minute in (10, 15, 20)]

    page = stock_page(quarantine=[*rows, refused("2026-11-18 09:00", "calendar")])

    assert re.findall(r"<td>([\d-]+)</td><td>(\d+ rows?: .*?)</td>", page) == [
        ("2026-11-19", "3 rows: closed"),
        ("2026-11-18", "1 row: closed"),
    ]
    assert page.count("&#34;text&#34;: &#34;!&#34;") == 2
    # A change of the calendar is no run.
    assert page.count('href="/runs/') == 1


@pytest.mark.parametrize(("frame", "times"), [("5m", True), ("1d", False)])
def test_a_day_has_no_time_at_which_its_candle_is_not(frame, times):
    nothing = StoredSlots(
        candles=frozenset(), confirmations={}, days_without_trades=frozenset()
    )
    client = client_of(
        series=lambda frames, *_: [replace(series_of(), timeframe=frames[0])],
        slots=nothing,
        history=History(),
    )

    page = client.get(f"/coverage/{frame}/005930/2026-11-19?lang=en").text

    assert ("No candle at" in page) == times


def test_a_cell_counts_only_rows_in_quarantine_that_are_of_its_session():
    undated = replace(refused("2026-11-19 09:00"), opened_at=None)
    nothing = StoredSlots(
        candles=frozenset(), confirmations={}, days_without_trades=frozenset()
    )
    client = client_of(
        series=[series_of()],
        slots=nothing,
        history=History(quarantine=[refused("2026-11-19 09:00"), undated]),
    )

    page = client.get("/coverage/5m/005930/2026-11-19?lang=en").text

    assert "Quarantine</dt><dd>1</dd>" in page


SETTLED = {
    each: SessionFacts(len(CALENDAR.slots(M5, each)))
    for each in CALENDAR.session_dates(day("2026-11-02"), THURSDAY)
}


def of_minutes(stored, accounted_for, **values):
    """What is reported of one series, and of nothing else."""
    account = Account(
        facts=facts(),
        accounted_for=accounted_for,
        is_open=False,
        codes=(SAMSUNG.code,),
    )
    return services_of(
        counts=counts(),
        accounts=lambda frame, *_: [account] if frame is M5 else [],
        series=lambda frames, *_: [series_of()] if frames == [M5] else [],
        sessions={SAMSUNG.code: stored},
        **values,
    )


def seen_by(services):
    return overview(services.reports, services.gaps, DUE, NOW)


def test_one_missing_candle_is_enough_to_say_no_and_is_named():
    full = sum(each.candles for each in SETTLED.values())
    short = SessionFacts(SETTLED[THURSDAY].candles - 3, absent=2)

    found = seen_by(of_minutes(SETTLED | {THURSDAY: short}, full - 1))

    assert (found.is_complete, found.missing) == (False, 1)
    (problem,) = found.problems
    assert (problem.at, problem.stocks) == (THURSDAY, (SAMSUNG,))
    assert problem.cause is Cause.GAP
    assert "repair" in problem.remedy
    # Of two sessions the newest is named, and both are counted.
    monday = day("2026-11-16")
    two = {THURSDAY: short, monday: SessionFacts(SETTLED[monday].candles - 3)}
    found = seen_by(of_minutes(SETTLED | two, full - 1))
    assert (found.problems[0].at, found.missing) == (THURSDAY, 4)
    assert found.tiles[0].missing_sessions == 2


def test_sessions_are_read_only_of_series_that_do_not_add_up():
    full = sum(each.candles for each in SETTLED.values())
    short = SETTLED | {THURSDAY: SessionFacts(SETTLED[THURSDAY].candles - 1)}
    adds_up = of_minutes(short, full)
    altered = of_minutes(short, full, altered={SAMSUNG.code})

    assert (seen_by(adds_up).missing, seen_by(altered).missing) == (0, 1)
    assert "sessions" not in adds_up.reports.calls


WEDNESDAY = day("2026-11-18")


def account(*codes, settled_through=THURSDAY, accounted_for=None, is_open=False):
    return Account(
        facts=facts(settled_through=settled_through),
        accounted_for=accounted_for,
        is_open=is_open,
        codes=codes,
    )


def read_by(*accounts, slots=SETTLED, **values):
    """From which day on sessions are read, of which stocks, and how."""
    read = []

    def sessions(frame, start, last, codes, detail):
        read.append((start, codes, detail))
        return {}

    def accounts_of(frame, last, over_at):
        asked.append((frame, last, over_at))
        return list(accounts) if frame is M5 else []

    asked = []
    services = services_of(
        counts=counts(), accounts=accounts_of, sessions=sessions, **values
    )
    seen_by(services)
    assert (M5, THURSDAY, kst("2026-11-20 00:00")) in asked
    return sorted(read), services


def test_an_open_series_is_read_from_where_it_is_settled_on():
    full = sum(slots.candles for day, slots in SETTLED.items() if day != THURSDAY)
    known = {"settled_through": WEDNESDAY, "accounted_for": full}

    read, _ = read_by(account("1", **known), account("2", is_open=True, **known))
    assert read == [(THURSDAY, ["2"], Detail.LETTERS)]
    # Where it does not add up either, from its beginning; so does one never settled.
    short = account("3", **known | {"accounted_for": full - 1, "is_open": True})
    never = account("4", settled_through=None, accounted_for=0)
    read, _ = read_by(account("2", is_open=True, **known), short, never)
    assert read == [
        (day("2026-11-02"), ["3", "4"], Detail.LETTERS),
        (THURSDAY, ["2"], Detail.LETTERS),
    ]


def test_a_series_may_be_covered_from_before_the_calendar_begins():
    known = facts(covered_from=day("1985-01-01"))
    slots = {
        each: len(CALENDAR.slots(M5, each))
        for each in CALENDAR.session_dates(CALENDAR.first, THURSDAY)
    }
    whole = replace(account("1", accounted_for=sum(slots.values())), facts=known)

    assert read_by(whole)[0] == []
    read, _ = read_by(replace(whole, accounted_for=0))
    assert [each[1] for each in read] == [["1"]]


def test_of_many_series_seals_are_read_and_no_candle_is_counted(monkeypatch):
    one = account("1", accounted_for=0)
    monkeypatch.setattr(status, "MANY_SERIES", 1)
    read, services = read_by(one)
    assert read == [(day("2026-11-02"), ["1"], Detail.LETTERS)]
    assert "altered" in services.reports.calls

    monkeypatch.setattr(status, "MANY_SERIES", 0)
    read, services = read_by(one)
    assert read == [(day("2026-11-02"), ["1"], Detail.SEALED_LETTERS)]
    altered = [call for call in services.reports.calls if call == "altered"]
    # Of the other timeframes there is no series.
    assert len(altered) == len(Timeframe) - 1


def test_slots_are_counted_anew_where_the_calendar_has_changed():
    full = sum(each.candles for each in SETTLED.values())
    services = of_minutes(SETTLED, full)
    assert seen_by(services).missing == 0
    closed = {**CALENDAR.sessions, WEDNESDAY: None}
    calendar = Calendar(closed, CALENDAR.first, CALENDAR.last, CALENDAR.version + 1)
    fewer = account(SAMSUNG.code, accounted_for=full - SETTLED[WEDNESDAY].candles)
    services.reports.values["accounts"] = lambda frame, *_: (
        [fewer] if frame is M5 else []
    )

    overview(services.reports, services.gaps, DueTimes(calendar, TICKS), NOW)

    assert "sessions" not in services.reports.calls


def test_a_census_is_the_same_however_many_sessions_are_counted_at_a_time(monkeypatch):
    short = SETTLED | {THURSDAY: SessionFacts(SETTLED[THURSDAY].candles - 2)}
    judge = Judge(DUE, M5, NOW)

    def sessions(frame, start, last, *_):
        return {SAMSUNG.code: {d: f for d, f in short.items() if start <= d <= last}}

    def counted():
        found = census(Reports(series=[series_of()], sessions=sessions), judge)
        return dict(found.sessions), found.missing

    whole = {"c": len(SETTLED) - 1, "m": 1, "p": 1}, 2
    assert counted() == whole
    for at_once in (1, 2, 4):
        monkeypatch.setattr(session_map, "AT_ONCE", at_once)
        assert counted() == whole


def test_stocks_with_the_same_candles_are_judged_by_their_own_proofs():
    judge = Judge(DUE, M5, NOW)
    days = newest_sessions(judge, 6)
    proofs = [
        {},
        {"covered_from": days[2], "oldest": days[2]},
        {"settled_through": days[1]},
        # Listed after what is settled: it has not begun there.
        {"covered_from": days[3], "settled_through": days[1]},
    ]
    known = [
        replace(series_of(**each), stock=StockName(code=f"{n}", name="?"))
        for n, each in enumerate(proofs)
    ]
    same = {each: SessionFacts(judge.expected(each)) for each in days}
    reports = Reports(series=known, sessions={each.stock.code: same for each in known})

    told = [row.letters for row in coverage(reports, judge, days).rows]

    assert told == [
        "".join(judge.session(each.facts, day, same[day]).state for day in days)
        for each in known
    ]
    assert len(set(told)) == len(told)


# One series, and one slot


def test_the_problems_of_a_series_come_newest_first_and_nothing_else_does():
    short = SessionFacts(SETTLED[THURSDAY].candles - 1)
    stored = SETTLED | {THURSDAY: short, day("2026-11-16"): short}
    late = replace(
        series_of(), facts=replace(facts(), asked_at=kst("2026-11-20 10:20"))
    )
    known = {"history": History(), "last_error": None}
    client = client_of(series=[late], sessions={SAMSUNG.code: stored}, **known)

    told = client.get("/api/series/005930/5m").get_json()

    assert told["is_late"] is True
    assert [(each["session"], each["state"]) for each in told["gaps"]] == [
        ("2026-11-20", "late"),
        ("2026-11-19", "missing"),
        ("2026-11-16", "missing"),
    ]
    # A range without a session has no problems, and no history.
    nothing = client.get("/api/series/005930/5m?end=1985-01-01").get_json()
    assert (nothing["sessions"], nothing["gaps"]) == ([], [])


def test_a_slot_on_a_day_that_opens_no_candle_is_of_no_session():
    stored = StoredSlots(
        candles=frozenset(), confirmations={}, days_without_trades=frozenset()
    )
    known = {"slots": stored, "history": History(), "last_error": None}
    weeks = replace(series_of(), timeframe=Timeframe.WEEK_1)
    client = client_of(series=[weeks], **known)

    def session(at):
        return client.get(f"/api/slots/005930/1w/{at}").get_json()["session"]

    assert session("2026-11-17") is None
    assert session("2026-11-16")["expected"] == 1


def of_one_series(known=None, frame=M5, **values):
    """The API, where that is stored of a series."""
    stored = {"candles": frozenset(), "confirmations": {}}
    stored |= {"days_without_trades": frozenset(), **values.pop("stored", {})}
    return client_of(
        series=[replace(known or series_of(), timeframe=frame)],
        slots=StoredSlots(**stored),
        **{"history": History(), "last_error": None, "seal": None, **values},
    )


def test_a_session_tells_of_each_slot_what_is_stored_there():
    one, two, *full = CALENDAR.slots(M5, THURSDAY)
    beside = kst("2026-11-19 16:22")
    in_utc = frozenset(at.astimezone(UTC) for at in (*full, beside))
    seal = Seal(
        session_date=THURSDAY,
        candles=90,
        digest="ab",
        sealed_at=NOW,
        first_sealed_at=NOW,
    )
    client = of_one_series(
        stored={"candles": in_utc, "confirmations": {one: 1, two: 2, beside: 2}},
        marks={SAMSUNG.code: {THURSDAY: Mark.REVISED}},
        seal=seal,
        broken_seal=a_broken_seal(),
    )

    told = client.get("/api/sessions/005930/5m/2026-11-19").get_json()

    assert (told["candles"], told["explained"]) == (len(full), 2)
    # Of one absence it is not confirmed.
    assert (told["state"], told["reason"]) == ("thin", "broker_has_none")
    reasons = {each["opens_at"][11:16]: each["reason"] for each in told["slots"]}
    assert len(reasons) == len(full) + 3
    assert reasons["10:00"] == "broker_has_none"
    assert reasons["10:05"] == "confirmed"
    assert reasons["10:10"] == reasons["16:22"] == "all_present"
    assert (told["marks"], told["seal"]["candles"]) == (["revised"], 90)
    assert told["broken"]["found"] == 103
    map_of = client.get("/api/slots/005930/5m?sessions=2").get_json()
    thursday, friday = map_of["letters"]
    assert set(friday) <= {"p", " "}
    assert map_of["times"][0] == "09:00"
    # Exam day opens an hour later.
    assert thursday[0] == " "
    assert thursday[map_of["times"].index("10:00") :].startswith("eecc")


def test_a_day_without_trades_is_told_of_minutes_by_session_and_by_slot():
    idle = frozenset([THURSDAY])
    client = of_one_series(
        stored={"days_without_trades": idle},
        days_without_trades={SAMSUNG.code: idle},
    )

    session = client.get("/api/sessions/005930/5m/2026-11-19").get_json()
    slot = client.get("/api/slots/005930/5m/2026-11-19T10:00").get_json()
    series = client.get("/api/series/005930/5m?start=2026-11-18&end=2026-11-20")

    assert session["reason"] == session["slots"][0]["reason"] == "day_without_trades"
    assert slot["reason"] == slot["session"]["reason"] == "day_without_trades"
    assert series.get_json()["letters"] == "me"
    # It explains no day.
    days = of_one_series(frame=Timeframe.DAY_1, days_without_trades={"005930": idle})
    told = days.get("/api/series/005930/1d?start=2026-11-19&end=2026-11-20").get_json()
    assert told["letters"] == "m"


def test_the_other_candles_of_a_day_keep_a_slot_from_being_given_up():
    known = series_of(settled_through=WEDNESDAY, newest=kst("2026-11-18 19:55"))
    for served, reason in (
        ([kst("2026-11-19 10:00")], "end_not_proven"),
        ([], "not_served"),
    ):
        client = of_one_series(known, stored={"candles": frozenset(served)})
        session = client.get("/api/sessions/005930/5m/2026-11-19").get_json()
        slot = client.get("/api/slots/005930/5m/2026-11-19T10:05").get_json()
        assert session["slots"][1]["reason"] == slot["reason"] == reason


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("naver", 1), ("네이버", 0), ("0354", 1), ("0000", 0), ("%20삼성%20", 1), ("", 2)],
)
def test_a_search_finds_a_stock_by_its_code_or_its_name(wanted, found):
    naver = StockName(code="035420", name="NAVER")
    both = [series_of(), replace(series_of(), stock=naver)]

    page = client_of(series=both).get(f"/stocks?q={wanted}").text

    assert len(set(re.findall(r'href="/stocks/(\w{6})', page))) == found


def test_the_newest_candles_of_a_stock_stand_in_a_table():
    candles = [
        a_candle(f"2026-10-{n:02}", close=70_000 + n, open=69_500) for n in range(1, 31)
    ]
    page = stock_page(
        "/stocks/005930?lang=en",
        candles=CandlePage(candles=candles, settled_through=None, more=False),
    )

    days = re.findall(r"2026-10-\d\d", page)
    assert days == [f"2026-10-{n:02}" for n in range(30, 10, -1)]


def test_a_list_of_runs_leads_to_older_ones():
    runs = [a_run()] * 2
    page = client_of(newest_runs=runs).get("/runs?limit=1").text
    assert "before=2026-11-20T10%3A31%3A40%2B09%3A00" in page
    assert "before=" not in client_of(newest_runs=runs).get("/runs?limit=2").text


# The map


def test_the_map_has_a_letter_for_each_session():
    judge = Judge(DUE, Timeframe.MINUTE_5, NOW)
    days = newest_sessions(judge, 15)
    full = {each: SessionFacts(judge.expected(each)) for each in days}
    full[days[-3]] = SessionFacts(judge.expected(days[-3]) - 1, absent=1)
    reports = Reports(
        series=[series_of(covered_from=days[2], oldest=days[2])],
        sessions={SAMSUNG.code: full},
        marks={SAMSUNG.code: {days[4]: Mark.REVISED}},
    )

    found = coverage(reports, judge, days)

    (row,) = found.rows
    assert row.letters == "xx" + "c" * 10 + "tcp"
    assert (row.marks, row.problems) == ({4: Mark.REVISED}, 0)
    assert days[-1] == FRIDAY


def test_the_map_says_of_each_cell_what_the_judge_says():
    judge = Judge(DUE, Timeframe.MINUTE_5, NOW + timedelta(minutes=20))
    days = newest_sessions(judge, 20)
    stored = {each: SessionFacts(90, 3, 1) for each in days[::2]}
    known = series_of(settled_through=days[-4], oldest=days[5], history_exhausted=True)

    found = coverage(
        Reports(series=[known], sessions={SAMSUNG.code: stored}), judge, days
    )

    assert found.rows[0].letters == "".join(
        judge.session(known.facts, each, stored.get(each, SessionFacts())).state
        for each in days
    )


def test_late_cells_are_problems_like_missing_ones_and_the_newest_come_first():
    judge = Judge(DUE, M5, NOW)
    days = newest_sessions(judge, 3)
    late = replace(series_of(), stock=StockName(code="000660", name="SK하이닉스"))
    late = replace(late, facts=replace(late.facts, asked_at=kst("2026-11-20 10:20")))
    full = {each: SessionFacts(judge.expected(each)) for each in days}
    missing = full | {day: SessionFacts(full[day].candles - 1) for day in days[:2]}
    reports = Reports(
        series=[late, series_of()],
        sessions={"000660": full, SAMSUNG.code: missing},
    )
    found = coverage(reports, judge, days)

    cells = problem_cells(reports, judge, found, 2)

    assert [row.problems for row in found.rows] == [1, 2]
    assert [(each.stock.code, each.session) for each in cells] == [
        ("000660", FRIDAY),
        (SAMSUNG.code, THURSDAY),
    ]
    assert [each.verdict.state for each in cells] == [State.LATE, State.MISSING]
    # Where there is none, no session is read again.
    reports = Reports(series=[series_of()], sessions={SAMSUNG.code: full})
    assert problem_cells(reports, judge, coverage(reports, judge, days), 2) == []
    assert reports.calls.count("sessions") == 1


def test_the_newest_candle_is_wanted_of_what_could_be_settled_further():
    def behind(days):
        wanted = []

        def series(frames, behind, codes):
            wanted.append(behind)
            return []

        coverage(Reports(series=series), Judge(DUE, M5, NOW), days)
        return wanted

    # Of today's session nothing can be settled yet.
    assert behind([THURSDAY, FRIDAY]) == [THURSDAY]
    assert behind([day("2026-11-17"), day("2026-11-18")]) == [day("2026-11-18")]


def test_a_day_without_trades_explains_no_week():
    monday = day("2026-11-09")
    known = replace(series_of(settled_through=day("2026-11-13")), timeframe="1w")
    reports = Reports(
        series=[known], days_without_trades={SAMSUNG.code: frozenset([monday])}
    )
    judge = Judge(DUE, Timeframe.WEEK_1, NOW)

    assert coverage(reports, judge, [monday]).rows[0].letters == "m"


def test_a_range_before_the_calendar_has_no_sessions():
    told = client_of(series=[series_of()]).get("/api/coverage/5m?end=1985-01-01")

    assert (told.status_code, told.get_json()["sessions"]) == (200, [])


def test_marks_of_days_between_two_sessions_are_of_no_cell():
    judge = Judge(DUE, M5, NOW)
    days = newest_sessions(judge, 6)
    saturday = day("2026-11-14")
    reports = Reports(
        series=[series_of()], marks={SAMSUNG.code: {saturday: Mark.QUARANTINED}}
    )

    assert days[0] < saturday < days[-1]
    assert coverage(reports, judge, days).rows[0].marks == {}


def test_a_calendar_that_has_just_begun_has_few_sessions():
    known = {
        each: hours for each, hours in CALENDAR.sessions.items() if each >= THURSDAY
    }
    begun = Calendar(known, THURSDAY, CALENDAR.last)

    def found(now):
        return newest_sessions(Judge(DueTimes(begun, TICKS), M5, kst(now)), 60)

    assert found("2026-11-20 10:31") == [THURSDAY, FRIDAY]
    assert found("2026-11-19 08:00") == []


def test_a_day_without_trades_explains_its_minutes_on_the_map():
    judge = Judge(DUE, Timeframe.MINUTE_5, NOW)
    days = newest_sessions(judge, 3)
    reports = Reports(
        series=[series_of()],
        sessions={SAMSUNG.code: {}},
        days_without_trades={SAMSUNG.code: frozenset(days[:1])},
    )

    assert coverage(reports, judge, days).rows[0].letters == "emp"


def test_a_range_of_years_ends_with_the_newest_session():
    judge = Judge(DUE, Timeframe.WEEK_1, NOW)

    weeks = newest_sessions(judge, 250)

    assert len(weeks) == 250
    assert weeks[-1] == day("2026-11-16")
    assert weeks == sorted(set(weeks))


# Reports of days


def stored_report(**values):
    report = a_report(**values)
    return StoredReport(report=report, chain=report.chain, is_linked=True)


def report_page(stored, path="/reports/2026-11-20?lang=en", **values):
    kept = values or {"sealed": stored.report.sealed}
    return client_of(of=stored, newest=[stored], **kept).get(path)


def a_run(**trigger):
    return RunRow(
        run_id="r" * 36,
        trigger={"timeframe": "5m", **trigger},
        state="running",
        requested_at=NOW,
        written_at=NOW,
        published_at=NOW,
        finished_at=None,
        superseded_by=None,
        tasks={"failed": 1},
    )


def test_a_list_of_runs_says_of_which_stocks_they_are():
    codes = ["005930", "000660", "000270", "005380"]
    asked = [[], codes[:1], codes, "all"]
    page = client_of(newest_runs=[a_run(stocks=stocks) for stocks in asked])

    assert re.findall(
        r"<td>(incremental .*?)</td>", page.get("/runs?lang=en").text
    ) == [
        "incremental 5m",
        "incremental 5m 005930",
        "incremental 5m 005930 000660 000270 and 1 more",
        "incremental 5m all",
    ]


def test_the_errors_of_a_run_lead_to_their_stocks():
    error = ErrorGroup(
        error_code="unforeseen",
        state="failed",
        tasks=1,
        message="?",
        examples=("005930 5m",),
    )
    found = RunDetail(run=a_run(), groups=[], errors=[error], open_tasks=1)

    page = client_of(run=found).get(f"/runs/{'r' * 36}?lang=en").text

    assert "/stocks/005930?timeframe=5m&amp;lang=en" in page


def test_a_report_is_one_file_that_can_be_printed():
    answer = report_page(stored_report())

    assert "Nothing is late or missing." in answer.text
    # The browser would ask for an icon that it is not told.
    assert re.findall(r"<(?:link|script|img)[^>]*>", answer.text) == [
        '<link rel="icon" href="data:,">'
    ]
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = answer.headers["Content-Security-Policy"]
    assert f"style-src 'self' 'sha256-{digest}';" in policy
    assert "unsafe" not in policy


def test_a_closed_day_says_so_in_one_line():
    closed = stored_report(has_session=False)
    line = "<p>The exchange was closed. Nothing is late or missing.</p>"

    assert line in report_page(closed).text
    assert (
        "휴장일입니다. 지연도 누락도 없습니다." in report_page(closed, "/reports").text
    )


def test_a_report_says_what_is_wrong():
    frame = a_frame(late=2, missing=1_500)
    text = report_page(stored_report(frames=(frame,), tally=Tally(dead_tasks=3))).text

    assert "<p>2 series are late, 1,500 candles are missing, 3 tasks are dead" in text
    assert 'class="answer no"' in text
    # What is wrong leads to its cells.
    cells = 'href="/coverage/5m?problems=true&amp;lang=en"'
    assert f"<a {cells}>1,500</a>" in text
    assert f"<a {cells}>2</a>" in text


def test_a_report_that_was_made_up_for_says_so():
    late = stored_report(made_at=kst("2026-11-22 09:15"))

    assert "made up for at 2026-11-22 09:15" in report_page(late).text
    assert "made up for" not in report_page(stored_report()).text


def test_a_report_tells_what_has_become_of_its_seals():
    stored = stored_report()
    fewer = Sealed(digest="cd" * 32, timeframes={Timeframe.MINUTE_5: 27})
    changed = Sealed(digest="cd" * 32, timeframes={Timeframe.MINUTE_5: 30})

    assert "all are as they were" in report_page(stored).text
    assert "3 were written again since" in report_page(stored, sealed=fewer).text
    assert "something else has changed" in report_page(stored, sealed=changed).text
    told = client_of(of=stored, sealed=fewer).get("/api/reports/2026-11-20").get_json()
    assert (told["sealed_anew"], told["seals_are_same"]) == (3, False)


def test_a_break_in_the_chain_is_seen():
    broken = replace(stored_report(), is_linked=False)

    assert "The chain is broken here" in report_page(broken).text
    assert "broken chain" in report_page(broken, "/reports?lang=en").text
    assert "chain is broken" not in report_page(stored_report()).text


def test_a_share_that_is_not_whole_is_never_told_as_such():
    almost = stored_report(due=100_000, due_met=99_999)

    assert "99.99 %: 99,999 of 100,000 within 90 s" in report_page(almost).text


def test_reports_are_told_page_by_page():
    found = [stored_report(day=FRIDAY - timedelta(days=n)) for n in range(3)]
    asked = []

    def newest(*arguments):
        asked.append(arguments)
        return found

    told = client_of(newest=newest).get("/api/reports?limit=2&before=2026-11-21")
    told = told.get_json()

    assert asked == [(3, day("2026-11-21"))]
    assert [each["day"] for each in told["reports"]] == ["2026-11-20", "2026-11-19"]
    assert told["next"].endswith("/api/reports?limit=2&before=2026-11-19")
    assert "before=2026-11-19" in client_of(newest=found).get("/reports?limit=2").text


def test_the_next_page_is_at_the_host_that_was_asked_whoever_asked_before():
    client = client_of(newest=[stored_report()] * 2)

    def following(**headers):
        told = client.get("/api/reports?limit=1", headers=headers).get_json()
        return told["next"].partition("/api/")[0]

    assert following(Host="elsewhere.example") == "http://elsewhere.example"
    assert following() == "http://localhost"
    assert following(**{"X-Forwarded-Proto": "https"}) == "https://localhost"


def test_a_page_that_does_not_exist_still_leads_to_itself_in_the_other_language():
    assert 'href="/none%3Fsuch?lang=en"' in client_of().get("/none%3Fsuch").text


def test_a_report_keeps_the_contract():
    schema = json.loads(make_openapi.served())["components"]["schemas"]["DailyReport"]
    frame = schema["properties"]["timeframes"]["items"]
    told = report_page(stored_report(), "/api/reports/2026-11-20").get_json()

    assert told.keys() - {"sealed_anew", "seals_are_same"} == {*schema["required"]}
    assert told["timeframes"][0].keys() == {*frame["required"]}


def test_what_no_tick_waits_for_is_told_all_the_same():
    doubts = [Doubt(stock=SAMSUNG), Doubt(stock=SAMSUNG, timeframe=Timeframe.WEEK_1)]
    client = client_of(counts=counts(), doubts=doubts)
    page = client.get("/?lang=en").text

    assert "it has vanished from the broker&#39;s list" in page
    assert "{&#34;remove_targets&#34;:[&#34;005930&#34;]}" in page
    assert "its prices contradict each other" in page
    told = client.get("/api/status").get_json()
    assert [each["reason"] for each in told["doubts"]] == ["vanished", "unproven"]
    # Neither is late or missing.
    assert told["complete"]


# The broker's limits


RATE = RateState(
    api_id="ka10080",
    next_free_at=NOW + timedelta(seconds=3),
    slowdown=2.0,
    slowed_at=NOW - timedelta(minutes=1),
    requests=900,
)


def limited(limit, **values):
    services = services_of(
        counts=counts(), rates=[replace(RATE, **values)], broken_seals=[]
    )
    object.__setattr__(services, "requests_per_second", limit)
    object.__setattr__(services, "token_created_at", lambda: NOW - timedelta(hours=6))
    return new_app(services).test_client()


def test_the_share_of_a_limit_that_is_used_leads_to_the_runs_that_use_it():
    client = limited(4.0)
    page, (told,) = (
        client.get("/?lang=en").text,
        client.get("/api/status").json["rates"],
    )

    assert '<a href="/runs?lang=en">25.00 %: 900 of 3,600 requests</a>' in page
    assert '<a href="/reports?lang=en">2.00 ×</a>' in page
    assert '<a href="#rates">token issued 6 hours ago</a>' in page
    assert (told["used"], told["requests"], told["requests_per_second"]) == (
        0.25,
        900,
        4,
    )
    two_keys = limited(4.0, app_keys=2).get("/api/status").json["rates"]
    assert two_keys[0]["used"] == 0.125


def test_without_a_limit_or_a_task_no_share_of_it_is_told():
    assert "900 requests, no limit" in limited(None).get("/?lang=en").text
    (told,) = limited(4.0, requests=None).get("/api/status").json["rates"]
    assert told["used"] is None
    # What was reserved is over.
    (told,) = (
        limited(4.0, next_free_at=NOW - timedelta(days=1))
        .get("/api/status")
        .json["rates"]
    )
    assert told["reserved_seconds"] == 0


# The token's age


def looked_up(answers, seconds):
    """What calls at these seconds return, with each look done at once."""
    clock = iter(seconds)
    now = [0.0]

    def look():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    age = InBackground(look, start=lambda run: run(), clock=lambda: now[0])
    found = []
    for now[0] in clock:
        found.append(age())
    return found


def test_the_token_is_looked_up_once_a_minute_and_no_answer_waits():
    assert looked_up(["first", "second"], [0, 1, 59, 60, 61]) == [
        "first",
        "first",
        "first",
        "second",
        "second",
    ]
    waiting = []
    age = InBackground(lambda: "found", start=waiting.append)
    assert (age(), age()) == (None, None)
    (look,) = waiting
    look()
    assert age() == "found"


def test_a_token_that_cannot_be_looked_up_has_no_age(caplog):
    failed = VaultUnavailable("no answer")

    assert looked_up(["first", failed], [0, 60, 61]) == ["first", None, None]
    assert "no answer" in caplog.text


def test_a_look_up_begins_after_the_first_answer_and_holds_up_no_end(monkeypatch):
    class Timer:
        def __init__(self, seconds, run):
            self.seconds, self.run, self.daemon = seconds, run, False

        def start(self):
            assert self.daemon
            assert self.seconds >= 1
            self.run()

    monkeypatch.setattr(background, "Timer", Timer)

    assert InBackground(lambda: "found")() == "found"


def test_the_page_says_how_old_the_token_is():
    services = services_of(counts=counts())
    object.__setattr__(services, "token_created_at", lambda: NOW - timedelta(hours=6))
    client = new_app(services).test_client()

    assert "토큰은 6시간 전 발급" in client.get("/?lang=ko").text
    assert client.get("/api/status").get_json()["token"]["age_seconds"] == 6 * 3600
