"""The calls over gRPC."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import grpc

from infra.local.pubsub import protos
from infra.local.pubsub.calls import CALLS, MISSING, Dispatcher, request_of
from infra.local.pubsub.errors import CallRefused
from infra.local.pubsub.streaming import Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from infra.local.pubsub.calls import Call
    from infra.local.pubsub.protos import Message
    from infra.local.pubsub.service import PubSub

PACKAGE = "google.pubsub.v1"
# Larger than any limit of ours: what is too large is refused by us, by name.
OPTIONS = (
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)


def new_server(pubsub: PubSub) -> grpc.aio.Server:
    """A server of all calls, without a port yet."""
    server = grpc.aio.server(options=OPTIONS)
    dispatcher = Dispatcher(pubsub)
    handlers: dict[str, dict[str, grpc.RpcMethodHandler]] = defaultdict(dict)
    for call in (*CALLS, *MISSING):
        handlers[call.service][call.method] = grpc.unary_unary_rpc_method_handler(
            _unary(dispatcher, call),
            request_deserializer=request_of(call).FromString,
            response_serializer=_to_bytes,
        )
    handlers["Subscriber"]["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
        _streaming_pull(pubsub),
        request_deserializer=protos.StreamingPullRequest.FromString,
        response_serializer=_to_bytes,
    )
    for service, methods in handlers.items():
        name = f"{PACKAGE}.{service}"
        generic = grpc.method_handlers_generic_handler(name, methods)
        server.add_generic_rpc_handlers((generic,))
    return server


def _unary(
    dispatcher: Dispatcher, call: Call
) -> Callable[[Message, grpc.aio.ServicerContext], Awaitable[Message]]:
    async def handle(request: Message, context: grpc.aio.ServicerContext) -> Message:
        try:
            return await dispatcher.carry_out(call, request)
        except CallRefused as refused:
            await context.abort(refused.code, str(refused))

    return handle


def _streaming_pull(
    pubsub: PubSub,
) -> Callable[
    [AsyncIterator[Message], grpc.aio.ServicerContext], AsyncIterator[Message]
]:
    async def handle(
        requests: AsyncIterator[Message], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Message]:
        try:
            async for reply in Stream(pubsub, requests).replies():
                yield reply
        except CallRefused as refused:
            await context.abort(refused.code, str(refused))

    return handle


def _to_bytes(message: Message) -> bytes:
    return bytes(message.SerializeToString())
