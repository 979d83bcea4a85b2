"""Why a call is refused, as the service's status codes."""

from __future__ import annotations

from grpc import StatusCode


class CallRefused(Exception):
    """A call that is answered with an error; the text names the cause."""

    code: StatusCode
    http_status: int


class InvalidArgument(CallRefused):
    """A field breaks a rule of the service."""

    code = StatusCode.INVALID_ARGUMENT
    http_status = 400

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")


class NotFound(CallRefused):
    """There is no such topic or subscription."""

    code = StatusCode.NOT_FOUND
    http_status = 404

    def __init__(self, name: str) -> None:
        super().__init__(f"Resource not found (resource={name})")


class AlreadyExists(CallRefused):
    """The name is taken."""

    code = StatusCode.ALREADY_EXISTS
    http_status = 409

    def __init__(self, name: str) -> None:
        super().__init__(f"Resource already exists (resource={name})")


class FailedPrecondition(CallRefused):
    """The subscription is not of the kind that the call needs."""

    code = StatusCode.FAILED_PRECONDITION
    http_status = 400


class Unimplemented(CallRefused):
    """The service can do it, the embedded Pub/Sub cannot."""

    code = StatusCode.UNIMPLEMENTED
    http_status = 501

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the embedded Pub/Sub does not implement {what}; Google's emulator may: "
            "make emulator, then PUBSUB=emulator"
        )
