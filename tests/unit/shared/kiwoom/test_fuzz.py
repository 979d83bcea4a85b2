"""Whatever the broker answers: a value or an error of the pipeline, nothing else."""

from __future__ import annotations

from datetime import date

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.candles import Timeframe
from shared.errors import PipelineError
from shared.kiwoom.auth import TokenIssuer
from shared.kiwoom.charts import CHARTS, KiwoomCandles
from shared.kiwoom.client import KiwoomClient
from shared.kiwoom.listings import KiwoomStocks, Listing
from shared.kiwoom.wire import new_http_session
from shared.pages import ChartQuery, Page
from shared.stocks import Market
from shared.tokens import AccessToken
from tests.support.builders import CALENDAR, a_day_row, a_minute_row, kst
from tests.support.fakes import FakeThrottle, FakeTokens, FakeWire

FEW = settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ANCHOR = date(2026, 11, 20)
NUMBERS = st.from_regex(r"[+-]{0,2}[0-9]{0,25}(\.[0-9]{0,2})?", fullmatch=True)
DATES = st.from_regex(r"20261[0-3][0-3][0-9]([0-2][0-9]{3}00)?", fullmatch=True)
FIELDS = st.sampled_from([*a_day_row(), *a_minute_row(), "code", "marketCode", "list"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | NUMBERS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner),
    max_leaves=3,
)
ROWS = st.one_of(
    VALUES,
    st.builds(lambda odd: a_day_row() | odd, st.dictionaries(FIELDS, VALUES)),
    st.builds(lambda odd: a_minute_row() | odd, st.dictionaries(FIELDS, VALUES)),
    st.builds(lambda at: a_day_row() | {"dt": at, "cntr_tm": at}, DATES | VALUES),
)
LISTS = st.lists(ROWS, max_size=5) | VALUES
RETURN_CODES: st.SearchStrategy[object] = st.sampled_from(
    [0, 0, 0, "0", 3, "5", None, []]
)
MESSAGES = st.text() | st.from_regex(r"\[(CODE=)?[0-9]{3,6}:?.\]", fullmatch=True)


@st.composite
def answers(draw):
    """An answer that is at most odd: body, status and headers."""
    rows = draw(LISTS)
    body = {chart.rows: rows for chart in CHARTS.values()}
    body |= {
        "list": rows,
        "stk_cd": draw(st.sampled_from(["005930", "005930", None, "", 5])),
        "token": draw(st.just("token") | VALUES),
        "expires_dt": draw(DATES | VALUES),
        "return_code": draw(RETURN_CODES),
        "return_msg": draw(MESSAGES | VALUES),
    }
    status = draw(st.sampled_from([200, 200, 200, 302, 400, 401, 403, 429, 500, 503]))
    headers = {
        "cont-yn": draw(st.sampled_from(["N", "N", "Y", "", "?"])),
        "next-key": draw(st.sampled_from(["", "A1", "A2"])),
    }
    whole = st.just(body)
    return draw(whole | whole | VALUES | st.binary(max_size=50)), status, headers


class Repeating(FakeWire):
    """Gives the same answer to every request."""

    def send(self, request, **kwargs):
        self.answers.append(self.answers[0])
        return super().send(request, **kwargs)


def http(answer):
    session = new_http_session()
    session.mount("https://", Repeating(answer))
    return session


def client(answer):
    return KiwoomClient(
        http(answer),
        "https://api.kiwoom.com",
        FakeTokens(),
        FakeThrottle(),
        lambda _: None,
    )


@FEW
@given(answers(), st.sampled_from(Timeframe), st.sampled_from([None, "A1"]))
def test_a_chart_call_gives_a_page_or_an_error_of_the_pipeline(answer, frame, cursor):
    query = ChartQuery(stock_code="005930", timeframe=frame, anchor=ANCHOR)

    try:
        page = KiwoomCandles(client(answer)).page(
            query, cursor=cursor, calendar=CALENDAR
        )
    except PipelineError:
        return

    assert isinstance(page, Page)
    instants = [candle.opened_at for candle in page.candles]
    assert instants == sorted(set(instants), reverse=True)
    assert all(row.reason and row.raw.isascii() for row in page.rejected)


@FEW
@given(answers())
def test_a_stock_list_is_a_listing_or_an_error_of_the_pipeline(answer):
    try:
        listing = KiwoomStocks(client(answer)).listed(Market.KOSPI)
    except PipelineError:
        return

    assert isinstance(listing, Listing)
    assert all(stock.stock_name.isprintable() for stock in listing.stocks)


@FEW
@given(answers())
def test_a_token_is_fresh_or_an_error_of_the_pipeline(answer):
    now = kst("2026-11-20")
    issuer = TokenIssuer(http(answer), "https://api.kiwoom.com", lambda: now)

    try:
        token = issuer.issue("app-key", "secret-key")
    except PipelineError:
        return

    assert isinstance(token, AccessToken)
    assert token.is_fresh(now)
