"""What the simulated broker answers, apart from how it travels."""

from __future__ import annotations

import json
import secrets
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from infra.local.broker.charts import (
    CALLS,
    MINUTE,
    TIC_SCOPES,
    ChartCall,
    Row,
    blank_row,
    page,
    read_instant,
)
from infra.local.broker.faults import Fault, Kind
from infra.local.broker.market import CorporateAction
from infra.local.broker.master import listing
from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.local.broker.market import Market
    from shared.clock import Clock

OK = {"return_code": 0, "return_msg": "정상적으로 처리되었습니다"}
SERVER_ERROR = {
    "error": "INTERNAL_SERVER_ERROR",
    "status": 500,
    "message": "예기치 못한 에러가 발생하였습니다",
}
TOKEN_LIFE = timedelta(hours=24)
CHART_PATH = "/api/dostk/chart"
LIST_PATH = "/api/dostk/stkinfo"
LISTING_CALL = "ka10099"
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
        master: dict[str, dict[str, str]],
        keys: dict[str, str],
        limit: Limit,
        clock: Clock,
        *,
        second_token_kills_first: bool = False,
    ) -> None:
        """Accept the app ``keys`` (app key → secret key)."""
        self._market = market
        self._master = master
        self._keys = keys
        self._limit = limit
        self._clock = clock
        self._second_token_kills_first = second_token_kills_first
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self.delisted = {"091990"}
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
            return self._token(_json(body))
        if path == "/oauth2/revoke":
            self._tokens.pop(_json(body).get("token", ""), None)
            return answer(OK)
        if path not in PATHS.values():
            return answer(SERVER_ERROR, 500)
        return self._call(path, headers, _json(body))

    def _token(self, body: dict[str, Any]) -> Answer:
        app_key, secret_key = body.get("appkey"), body.get("secretkey")
        self.requests["au10001"] += 1
        self._log("au10001", "", 1)
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
        return answer(
            {
                "expires_dt": f"{expires:%Y%m%d%H%M%S}",
                "token_type": "bearer",
                "token": token,
                **OK,
            }
        )

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
        stock_code = str(body.get("stk_cd", ""))
        next_key = headers.get("next-key", "") if headers.get("cont-yn") == "Y" else ""
        number = int(next_key[-4:]) if next_key[-4:].isdigit() else 1
        self.requests[api_id] += 1
        self._log(api_id, stock_code, number)
        if not self._limit.allows(app_key, api_id):
            return refusal(5, "1700", self._limit.text(api_id), 429)
        fault = self._fault(api_id, stock_code, number)
        if fault is not None and (spoilt := self._spoilt(fault, api_id)):
            return spoilt
        if api_id == LISTING_CALL:
            found = listing(self._master, str(body.get("mrkt_tp", "")))
            return answer(
                {**OK, "list": found}, cont_yn="N", next_key="", api_id=api_id
            )
        call = CALLS[api_id]
        return lambda: self._chart(call, stock_code, body, next_key, number, fault)

    def _chart(
        self,
        call: ChartCall,
        stock_code: str,
        body: dict[str, Any],
        next_key: str,
        number: int,
        fault: Kind | None,
    ) -> Answer:
        for name in call.required:
            if not body.get(name):
                text = (
                    f"필수 입력 값에 값이 존재하지 않습니다. 필수입력 파라미터={name}"
                )
                return refusal(2, "1511", text)
        scope = str(body.get("tic_scope", ""))
        if call is MINUTE and scope not in TIC_SCOPES:
            return refusal(
                2, "1517", f"입력 값 형식이 올바르지 않습니다. tic_scope={scope}"
            )
        now = self._clock()
        try:
            base = min(_day(body.get("base_dt"), now), now.astimezone(KST).date())
            older_than = _read_key(next_key, stock_code) if next_key else None
        except ValueError:
            return refusal(2, "1517", "입력 값 형식이 올바르지 않습니다")
        gone = stock_code in self.delisted
        if not gone and not self._market.knows(stock_code):
            text = "종목 정보가 없습니다. 입력한 종목코드 값을 확인바랍니다. "
            return refusal(7, "1902", f"{text}종목코드={stock_code}")
        found = [blank_row(call)]
        key = ""
        if not gone and fault is not Kind.BLANK:
            found, oldest = page(
                self._market,
                call,
                stock_code,
                scope,
                base,
                older_than,
                now,
                adjusted=body.get("upd_stkpc_tp") == "1",
            )
            key = _write_key(stock_code, oldest, number + 1) if oldest else ""
        found, key = _spoil_rows(fault, found, key, next_key)
        chart = {"stk_cd": stock_code, call.rows: found, **OK}
        more = "Y" if key else "N"
        found_answer = answer(chart, cont_yn=more, next_key=key, api_id=call.api_id)
        return (
            replace(found_answer, fault=fault) if fault is Kind.SLOW else found_answer
        )

    def _fault(self, api_id: str, stock_code: str, number: int) -> Kind | None:
        for fault in self.faults:
            if fault.strikes(api_id, stock_code, number):
                return fault.kind
        return None

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

    def _log(self, api_id: str, stock_code: str, number: int) -> None:
        self.log.append({"api_id": api_id, "stock_code": stock_code, "page": number})

    def _control(self, path: str, body: bytes) -> Answer:
        """What tests and demonstrations ask of the simulator itself."""
        if path == "/simulator/requests":
            return answer({"requests": dict(self.requests), "log": list(self.log)})
        if path == "/simulator/scenario":
            scenario = _json(body)
            try:
                self.faults = [
                    Fault.from_json(raw) for raw in scenario.get("faults", [])
                ]
                for code, actions in scenario.get("actions", {}).items():
                    self._market.actions[code] = [
                        CorporateAction(date.fromisoformat(day), float(ratio))
                        for day, ratio in actions
                    ]
            except (ValueError, TypeError) as error:
                return answer({"error": str(error)}, 400)
            self.delisted |= set(scenario.get("delisted", []))
            return answer({"faults": len(self.faults)})
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


def _write_key(stock_code: str, oldest: datetime, number: int) -> str:
    """An opaque key: the stock, the oldest row's instant, the next page's number."""
    return f"A{stock_code}{oldest:%Y%m%d%H%M%S}{number:04d}"


def _read_key(key: str, stock_code: str) -> datetime:
    head = f"A{stock_code}"
    if not key.startswith(head):
        message = "the key belongs to another stock"
        raise ValueError(message)
    return read_instant(key[len(head) : -4])


def _spoil_rows(
    fault: Kind | None, found: list[Row], key: str, same_key: str
) -> tuple[list[Row], str]:
    if fault is Kind.EMPTY:
        return [], key
    if fault is Kind.STALL:
        return found, same_key or key
    if fault is Kind.CORRUPT and found:
        broken = {**found[0], "high_pric": "1"}
        return [broken, *found[1:]], key
    return found, key
