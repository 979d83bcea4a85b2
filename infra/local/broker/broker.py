"""What the simulated broker answers, apart from how it travels."""

from __future__ import annotations

import json
import secrets
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from infra.local.broker import master, scenario
from infra.local.broker.charts import (
    CALLS,
    MINUTE,
    TIC_SCOPES,
    ChartCall,
    blank_row,
    page,
    read_instant,
    timeframe_of,
)
from infra.local.broker.faults import Call, Fault, Kind, Reply
from infra.local.broker.views import ChartView, Delisting, Disclosures
from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.local.broker.market import Market
    from infra.local.broker.master import Entry
    from shared.clock import Clock

OK = {"return_code": 0, "return_msg": "정상적으로 처리되었습니다"}
SERVER_ERROR = {
    "error": "INTERNAL_SERVER_ERROR",
    "status": 500,
    "message": "예기치 못한 에러가 발생하였습니다",
}
# Celltrion Healthcare, one of the targets, was delisted on 2024-01-12.
LONG_GONE = "091990"
TOKEN_LIFE = timedelta(hours=24)
TOKEN_FAULTS = (Kind.NULL_TOKEN, Kind.EMPTY_TOKEN, Kind.EXPIRED_TOKEN)
CHART_PATH = "/api/dostk/chart"
LIST_PATH = "/api/dostk/stkinfo"
LISTING_CALL = "ka10099"
# A request with this header (an instant) is answered as it was answered then: without
# faults, beside the limit, uncounted. It is how tests look at the broker's truth.
AS_OF = "simulator-as-of"
# A part of the scenario: whether a second token ends the first, as some have seen it.
KILLS = "second_token_kills_first"
PATHS = dict.fromkeys(CALLS, CHART_PATH) | {LISTING_CALL: LIST_PATH}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; ``fault`` tells the server to spoil its transport."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: Kind | None = None


def answer(body: dict[str, Any], status: int = 200, **headers: str) -> Answer:
    """A JSON answer."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Answer(text.encode(), status, names)


def refusal(return_code: int, code: str, text: str, status: int = 200) -> Answer:
    """An error as the broker words it."""
    kind = {2: "입력 값 오류입니다", 3: "인증에 실패했습니다"}.get(
        return_code, "서비스를 처리하는 중에 오류가 발생했습니다"
    )
    if return_code == 5:  # noqa: PLR2004 - the quota class
        kind = "허용된 요청 개수를 초과하였습니다"
    message = f"{kind}[{code}:{text}]"
    return answer({"return_code": return_code, "return_msg": message}, status)


class Limit:
    """So many requests in any second, for each (app key, call)."""

    def __init__(self, per_second: int | None, monotonic: Callable[[], float]) -> None:
        self._per_second = per_second
        self._monotonic = monotonic
        self._recent: dict[tuple[str, str], deque[float]] = {}

    def allows(self, app_key: str, api_id: str) -> bool:
        """Count one request; False if it is one too many."""
        if self._per_second is None:
            return True
        now = self._monotonic()
        recent = self._recent.setdefault((app_key, api_id), deque())
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) >= self._per_second:
            return False
        recent.append(now)
        return True

    def text(self, api_id: str) -> str:
        """The broker's own words about its limit."""
        quota = f"유량={self._per_second}, API ID={api_id}"
        return f"허용된 API 요청 개수를 초과하였습니다. {quota}"


class Broker:
    """The state of the simulated broker."""

    def __init__(
        self,
        market: Market,
        entries: dict[str, Entry],
        keys: dict[str, str],
        limit: Limit,
        clock: Clock,
        *,
        disclosures: Disclosures | None = None,
        second_token_kills_first: bool = False,
    ) -> None:
        """Accept the app ``keys`` (app key → secret key).

        ``entries`` are the stock list by code.
        """
        self._market = market
        self._entries = entries
        self._keys = keys
        self._limit = limit
        self._clock = clock
        self._second_token_kills_first = second_token_kills_first
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self.disclosures = disclosures or Disclosures()
        self.disclosures.delistings.append(Delisting(stock_code=LONG_GONE))
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.log: deque[dict[str, Any]] = deque(maxlen=200_000)

    def handle(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> Answer | Callable[[], Answer]:
        """Answer one request, or say how to: what takes long is left to a thread.

        The limit counts when a request arrives, whatever else is being answered.
        """
        if path.startswith("/simulator/"):
            return self._control(path, body)
        if path == "/oauth2/token":
            return self._issue(_json(body))
        if path == "/oauth2/revoke":
            self._tokens.pop(_json(body).get("token", ""), None)
            return answer(OK)
        if path not in PATHS.values():
            return answer(SERVER_ERROR, 500)
        return self._call(path, headers, _json(body))

    def _issue(self, body: dict[str, Any]) -> Answer:
        app_key, secret_key = body.get("appkey"), body.get("secretkey")
        self.requests["au10001"] += 1
        call = Call(api_id="au10001", page=1, at=self._clock())
        self._log(call)
        if not app_key or not secret_key:
            text = "입력파라미터로 appkey 또는 secretkey가 전달되지 않았습니다."
            return refusal(2, "8020", text)
        if self._keys.get(app_key) != secret_key:
            return refusal(3, "8001", "App Key와 Secret Key 검증에 실패했습니다")
        now = self._clock()
        live = [
            t for t, (k, until) in self._tokens.items() if k == app_key and until > now
        ]
        if live and not self._second_token_kills_first:
            token = live[0]
        else:
            for old in live:
                del self._tokens[old]
            token = secrets.token_urlsafe(48)
            self._tokens[token] = (app_key, now + TOKEN_LIFE)
        expires = self._tokens[token][1].astimezone(KST)
        issued: dict[str, Any] = {
            "expires_dt": f"{expires:%Y%m%d%H%M%S}",
            "token_type": "bearer",
            "token": token,
            **OK,
        }
        over = (now - timedelta(minutes=1)).astimezone(KST)
        spoilt: dict[Kind, dict[str, Any]] = {
            Kind.NULL_TOKEN: {"token": None},
            Kind.EMPTY_TOKEN: {"token": ""},
            Kind.EXPIRED_TOKEN: {"expires_dt": f"{over:%Y%m%d%H%M%S}"},
        }
        for fault in self.faults:
            if fault.kind in spoilt and fault.strikes(call):
                fault.shown += 1
                issued |= spoilt[fault.kind]
        return answer(issued)

    def _call(
        self, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> Answer | Callable[[], Answer]:
        api_id = headers.get("api-id", "")
        bearer = headers.get("authorization", "")
        if error := _wrong_headers(path, api_id, bearer):
            return error
        app_key, until = self._tokens.get(
            bearer.removeprefix("Bearer "), ("", datetime.min.replace(tzinfo=KST))
        )
        if until <= self._clock():
            return refusal(3, "8005", "Token이 유효하지 않습니다")
        if AS_OF in headers:
            return self._answer(api_id, headers, body, [], _instant(headers[AS_OF]))
        call = self._read(api_id, headers, body)
        self.requests[api_id] += 1
        self._log(call)
        if not self._limit.allows(app_key, api_id):
            return refusal(5, "1700", self._limit.text(api_id), 429)
        faults = [
            fault
            for fault in self.faults
            if fault.kind not in TOKEN_FAULTS and fault.strikes(call)
        ]
        for fault in faults:
            if nothing_left := self._spoilt(fault.kind, api_id):
                fault.shown += 1
                return nothing_left
        return self._answer(api_id, headers, body, faults, self._clock())

    def _read(self, api_id: str, headers: dict[str, str], body: dict[str, Any]) -> Call:
        key = _next_key(headers)
        timeframe = ""
        if api_id in CALLS:
            timeframe = timeframe_of(CALLS[api_id], str(body.get("tic_scope", "")))
        return Call(
            api_id=api_id,
            stock_code=str(body.get("stk_cd", "")),
            timeframe=timeframe,
            market=str(body.get("mrkt_tp", "")),
            page=int(key[-4:]) if key[-4:].isdigit() else 1,
            at=self._clock(),
        )

    def _answer(
        self,
        api_id: str,
        headers: dict[str, str],
        body: dict[str, Any],
        faults: list[Fault],
        now: datetime,
    ) -> Answer | Callable[[], Answer]:
        call, key = self._read(api_id, headers, body), _next_key(headers)
        for fault in faults:
            if fault.kind is Kind.STALE and fault.as_of is not None:
                now = fault.as_of
        if api_id == LISTING_CALL:
            return self._list(call, faults, now)
        return lambda: self._chart(CALLS[api_id], call, body, key, faults, now)

    def _list(self, call: Call, faults: list[Fault], now: datetime) -> Answer:
        found = master.listing(self._entries, call.market, self.disclosures, now)
        key = ""
        for fault in faults:
            found, key = master.spoilt(fault, call, found, self._entries)
        more = "Y" if key else "N"
        return answer(
            {**OK, "list": found}, cont_yn=more, next_key=key, api_id=call.api_id
        )

    def _chart(
        self,
        chart: ChartCall,
        call: Call,
        body: dict[str, Any],
        next_key: str,
        faults: list[Fault],
        now: datetime,
    ) -> Answer:
        stock_code = call.stock_code
        if refused := _wrong_body(chart, body):
            return refused
        try:
            base = min(_day(body.get("base_dt"), now), now.astimezone(KST).date())
            older_than = _read_key(next_key, stock_code) if next_key else None
        except ValueError:
            return refusal(2, "1517", "입력 값 형식이 올바르지 않습니다")
        gone = self.disclosures.is_delisted(stock_code, now)
        if not gone and not self._market.knows(stock_code):
            text = "종목 정보가 없습니다. 입력한 종목코드 값을 확인바랍니다. "
            return refusal(7, "1902", f"{text}종목코드={stock_code}")
        if any(fault.kind is Kind.RESTART for fault in faults):
            older_than = None
        reply = Reply([blank_row(chart)], "", chart.opened, blank_row(chart))
        if not gone:
            view = ChartView(
                market=self._market,
                disclosures=self.disclosures,
                stock_code=stock_code,
                timeframe=call.timeframe,
                base=base,
                now=now,
                adjusted=body.get("upd_stkpc_tp") == "1",
            )
            reply.rows, oldest = page(view, chart, older_than)
            reply.key = _write_key(stock_code, oldest, call.page + 1) if oldest else ""
        for fault in faults:
            fault.spoil(reply, next_key)
        headers = {"next-key": reply.key, "api-id": call.api_id}
        if reply.is_marked:
            headers["cont-yn"] = "Y" if reply.key else "N"
        whole = answer({"stk_cd": stock_code, chart.rows: reply.rows, **OK})
        slow = any(fault.kind is Kind.SLOW for fault in faults)
        return replace(whole, headers=headers, fault=Kind.SLOW if slow else None)

    def _spoilt(self, kind: Kind, api_id: str) -> Answer | None:
        """The answer of a fault that leaves nothing of the real one."""
        if kind is Kind.TOKEN_DIES:
            self._tokens.clear()
        if kind in {Kind.RESET, Kind.TIMEOUT, Kind.TRUNCATED}:
            return Answer(b'{"stk_cd":"', fault=kind)
        spoilt = {
            Kind.SERVER_ERROR: answer(SERVER_ERROR, 500),
            Kind.HTML: Answer(b"<html><body>Request Blocked</body></html>", 400),
            Kind.RATE_LIMIT: refusal(5, "1700", self._limit.text(api_id), 429),
            Kind.TOKEN_DIES: refusal(3, "8005", "Token이 유효하지 않습니다"),
            Kind.REJECT: refusal(20, "2000", "조회할 수 없습니다"),
        }
        return spoilt.get(kind)

    def _log(self, call: Call) -> None:
        names = ("api_id", "stock_code", "timeframe", "page")
        self.log.append({name: getattr(call, name) for name in names})

    def _control(self, path: str, body: bytes) -> Answer:
        """What tests and demonstrations ask of the simulator itself."""
        if path == "/simulator/requests":
            return answer({"requests": dict(self.requests), "log": list(self.log)})
        if path == "/simulator/scenario":
            try:
                asked = _json(body)
                kills = asked.pop(KILLS, self._second_token_kills_first)
                told = scenario.apply(asked, self.disclosures)
            except (ValueError, TypeError, AttributeError) as error:
                return answer({"error": str(error)}, 400)
            self.disclosures = told[0]
            self._second_token_kills_first = kills is True
            self.faults = self.faults if told[1] is None else told[1]
            current = scenario.as_json(self.disclosures, self.faults)
            return answer(current | {KILLS: self._second_token_kills_first})
        return answer({"error": "unknown"}, 404)


def _wrong_headers(path: str, api_id: str, bearer: str) -> Answer | None:
    if not api_id:
        return refusal(2, "1501", "API ID가 Null이거나 값이 없습니다")
    if api_id not in PATHS:
        return refusal(2, "1505", f"해당 API ID는 존재하지 않습니다. API ID={api_id}")
    if PATHS[api_id] != path:
        text = f"해당 URI에서는 지원하는 API ID가 아닙니다. {api_id}"
        return refusal(2, "1504", text)
    if not bearer:
        text = "Http Header에 authorization 필드가 설정되어 있어야 합니다"
        return refusal(2, "1513", text)
    return None


def _wrong_body(chart: ChartCall, body: dict[str, Any]) -> Answer | None:
    for name in chart.required:
        if not body.get(name):
            text = f"필수 입력 값에 값이 존재하지 않습니다. 필수입력 파라미터={name}"
            return refusal(2, "1511", text)
    scope = str(body.get("tic_scope", ""))
    if chart is MINUTE and scope not in TIC_SCOPES:
        return refusal(
            2, "1517", f"입력 값 형식이 올바르지 않습니다. tic_scope={scope}"
        )
    return None


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _day(text: object, now: datetime) -> date:
    if not text:
        return now.astimezone(KST).date()
    return read_instant(str(text).ljust(14, "0")).date()


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _next_key(headers: dict[str, str]) -> str:
    return headers.get("next-key", "") if headers.get("cont-yn") == "Y" else ""


def _write_key(stock_code: str, oldest: datetime, number: int) -> str:
    """An opaque key: the stock, the oldest row's instant, the next page's number."""
    return f"A{stock_code}{oldest:%Y%m%d%H%M%S}{number:04d}"


def _read_key(key: str, stock_code: str) -> datetime:
    head = f"A{stock_code}"
    if not key.startswith(head):
        message = "the key belongs to another stock"
        raise ValueError(message)
    return read_instant(key[len(head) : -4])
