"""The calls over REST, as ``gcloud`` makes them; and ``GET /``, which answers Ok."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from google.protobuf import json_format  # type: ignore[import-untyped]

from infra.local.pubsub.calls import CALLS, MISSING, Call, Dispatcher, request_of
from infra.local.pubsub.errors import CallRefused, InvalidArgument, NotFound

if TYPE_CHECKING:
    from infra.local.pubsub.protos import Message
    from infra.local.pubsub.service import PubSub

# Ten million bytes in base64, and the JSON around them.
BODY_BYTES = 32 * 1024 * 1024
# Parameters of Google's API as a whole.
COMMON_PARAMETERS = {
    "alt",
    "$alt",
    "fields",
    "key",
    "prettyPrint",
    "quotaUser",
    "uploadType",
}


@dataclass(frozen=True, slots=True)
class _Route:
    call: Call
    url: re.Pattern[str]
    field: str

    @classmethod
    def of(cls, call: Call) -> _Route:
        before, field, pattern, after = re.fullmatch(
            r"(.*)\{(.+)=(.+)\}(.*)", call.path
        ).groups()  # type: ignore[union-attr]  # the table is ours
        name = re.escape(pattern).replace(r"\*", "[^/:]+")
        return cls(call, re.compile(f"/v1/{before}({name}){after}"), field)


class Rest:
    """Answers HTTP requests."""

    def __init__(self, pubsub: PubSub) -> None:
        self._dispatcher = Dispatcher(pubsub)
        self._routes = [_Route.of(call) for call in (*CALLS, *MISSING)]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path == "/":
            return web.Response(text="Ok\n")
        try:
            reply = await self._answer(request)
        except CallRefused as refused:
            return _error(refused)
        return web.json_response(json_format.MessageToDict(reply))

    async def _answer(self, request: web.BaseRequest) -> Message:
        for route in self._routes:
            match = route.url.fullmatch(request.path)
            if match and route.call.verb == request.method:
                parsed = _parse(route, match[1], request, await _body(request))
                return await self._dispatcher.carry_out(route.call, parsed)
        raise NotFound(f"{request.method} {request.path}")


async def _body(request: web.BaseRequest) -> bytes:
    if (request.content_length or 0) > BODY_BYTES:
        raise InvalidArgument("request", f"more than {BODY_BYTES:,} bytes")
    return await request.content.read()


def _parse(route: _Route, name: str, request: web.BaseRequest, body: bytes) -> Message:
    """The request of a call: its body, its query, and the name in its URL."""
    parsed = request_of(route.call)()
    try:
        values = json.loads(body) if body else {}
        values |= {
            key: value
            for key, value in request.query.items()
            if key not in COMMON_PARAMETERS
        }
        json_format.ParseDict(values, parsed)
    except (ValueError, TypeError, json_format.ParseError) as error:
        raise InvalidArgument("request", str(error)) from error
    target, _, field = route.field.rpartition(".")
    setattr(getattr(parsed, target) if target else parsed, field, name)
    return parsed


def _error(refused: CallRefused) -> web.Response:
    status = refused.http_status
    error = {"code": status, "message": str(refused), "status": refused.code.name}
    return web.json_response({"error": error}, status=status)
