"""Every error the pipeline raises, sorted by one question: would waiting help?

::

    PipelineError
    ├── ConfigError             a variable is missing or wrong: fix the deployment
    ├── PermanentError          waiting cannot help: dead letter now, with the reason
    │   ├── MalformedMessage    the message names a field we cannot accept
    │   ├── UnknownTask         the ledger has no such task
    │   ├── UnknownStock        the broker does not know the code
    │   ├── NoCandles           a listed stock for which the broker has nothing
    │   ├── KiwoomRejected      the broker said no
    │   ├── MalformedResponse   the broker said something we cannot read
    │   ├── MasterRefused       a stock list that cannot be true
    │   ├── SecretUnavailable   a secret is missing, disabled or destroyed
    │   └── AttemptsExhausted   a transient error, once too often
    └── TransientError          waiting helps: the message is delivered again
        ├── KiwoomUnavailable   no answer, a server error, or no JSON
        ├── RateLimited         the broker counted too many requests
        ├── StaleSeries         somebody else wrote the series meanwhile
        ├── PublishFailed       Pub/Sub did not take the messages
        └── Postponed           no fault of the task: the try is not counted
            ├── TokenRejected       the broker no longer accepts the token
            ├── TokenMissing        no token was issued yet
            ├── VaultUnavailable    Secret Manager did not answer
            ├── DatabaseUnavailable PostgreSQL cannot be reached
            └── Busy                somebody else is at it, or the queue for a
                                    request slot is too long

No message of these errors ever holds a key, a secret or a token: the Functions
Framework sends the text of an exception back to the caller.
"""

from __future__ import annotations

from typing import ClassVar


class PipelineError(Exception):
    """Any failure the pipeline foresees; ``code`` is what the ledger keeps."""

    code: ClassVar[str] = "pipeline_error"

    @property
    def error_code(self) -> str:
        """The short, stable name under which dead letters are grouped."""
        return self.code


class ConfigError(PipelineError):
    """Variables are missing or wrong; the text names every one of them at once."""

    code = "config"


class PermanentError(PipelineError):
    """Waiting cannot help: the message goes to the dead letters at once."""

    code = "permanent"


class MalformedMessage(PermanentError):
    """A message has a field that cannot be accepted; the text says the remedy."""

    code = "malformed_message"

    def __init__(self, field: str, problem: str) -> None:
        """Name the ``field`` and the ``problem`` with its remedy."""
        super().__init__(f"{field}: {problem}")
        self.field = field


class UnknownTask(PermanentError):
    """A collect request whose task is not in the ledger."""

    code = "unknown_task"


class UnknownStock(PermanentError):
    """The broker does not know the stock code (1902, 1903)."""

    code = "unknown_stock"


class NoCandles(PermanentError):
    """The broker has no candle at all where some were due."""

    code = "no_candles"


class KiwoomRejected(PermanentError):
    """The broker refused the request for a reason that repeating will not change."""

    code = "kiwoom_rejected"

    def __init__(
        self, api_id: str, broker_code: str, message: str, remedy: str = ""
    ) -> None:
        """Keep the broker's own ``broker_code`` (the four digits in brackets)."""
        text = f"{api_id}: the broker refused with {broker_code}: {message}"
        super().__init__(f"{text}; {remedy}" if remedy else text)
        self.broker_code = broker_code

    @property
    def error_code(self) -> str:
        """``kiwoom_1511`` and the like: the broker's code is what tells them apart."""
        return f"kiwoom_{self.broker_code}"


class MalformedResponse(PermanentError):
    """The broker answered something that breaks its own contract."""

    code = "malformed_response"


class MasterRefused(PermanentError):
    """The broker's stock list is empty or shrank too much; the old one is kept."""

    code = "master_refused"


class SecretUnavailable(PermanentError):
    """A secret has no version that can be read; the text has the command to add one."""

    code = "secret_unavailable"


class AttemptsExhausted(PermanentError):
    """A task failed as often as it may; text and code are its last error's."""

    def __init__(self, error: PipelineError, attempts: int) -> None:
        """Keep the last ``error`` of so many ``attempts``."""
        super().__init__(f"failed {attempts} times, at last: {error}")
        self._last = error

    @property
    def error_code(self) -> str:
        """The code of the last error."""
        return self._last.error_code


class TransientError(PipelineError):
    """Waiting helps: the message is delivered again."""

    code = "transient"


class KiwoomUnavailable(TransientError):
    """No answer in time, a broken connection, a server error, or no JSON."""

    code = "kiwoom_unavailable"


class RateLimited(TransientError):
    """The broker answered that too many requests were made (1700, 1701, 1702)."""

    code = "rate_limited"


class PublishFailed(TransientError):
    """Pub/Sub did not take the messages; none of the batch may be relied on."""

    code = "publish_failed"


class StaleSeries(TransientError):
    """The series changed between planning and storing; plan again."""

    code = "stale_series"


class Postponed(TransientError):
    """No fault of the task: it is tried again, and this try is not counted."""

    code = "postponed"


class TokenRejected(Postponed):
    """The broker does not accept the access token (8003, 8005, 8103)."""

    code = "token_rejected"

    def __init__(self, message: str, version: str | None = None) -> None:
        """Keep the ``version`` under which the vault has the token."""
        super().__init__(message)
        self.version = version


class TokenMissing(Postponed):
    """No token was issued yet; the token refresher will store one."""

    code = "token_missing"


class VaultUnavailable(Postponed):
    """Secret Manager did not answer."""

    code = "vault_unavailable"


class DatabaseUnavailable(Postponed):
    """PostgreSQL did not answer or broke the connection."""

    code = "database_unavailable"


class Busy(Postponed):
    """Come back later (HTTP 429): nothing went wrong at all."""

    code = "busy"
