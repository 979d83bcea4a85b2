"""Every error the pipeline raises, sorted by one question: would waiting help?

::

    PipelineError
    ├── ConfigError             a variable is missing or wrong: fix the deployment
    │   ├── DatabaseMisconfigured   an account, a role or an instance is
    │   └── SecretMisconfigured     a role on a secret, or the API, is missing
    ├── PermanentError          waiting cannot help: dead letter now, with the reason
    │   ├── MalformedMessage    the message names a field we cannot accept
    │   ├── CalendarUnknown     a day outside the span of the trading calendar
    │   ├── UnknownTask         the ledger has no such task
    │   ├── UnknownStock        the broker does not know the code
    │   ├── NoCandles           a listed stock for which the broker has nothing
    │   ├── BeyondRetention     minutes older than the broker keeps
    │   ├── KiwoomRejected      the broker said no
    │   ├── MalformedResponse   the broker said something we cannot read
    │   ├── StockListRejected   a stock list that cannot be true
    │   ├── SecretUnavailable   a secret is missing, disabled or destroyed
    │   └── AttemptsExhausted   a transient error on the last attempt
    ├── TransientError          waiting helps: the message is delivered again
    │   ├── KiwoomUnavailable   no answer, a server error, or no JSON
    │   ├── StaleSeries         the series or the calendar changed meanwhile
    │   ├── PriceBasisUnproven  nothing tells yet whether older prices moved
    │   ├── PublishFailed       Pub/Sub did not take the messages
    │   └── Postponed           no fault of the task: not counted as an attempt
    │       ├── RateLimited         the broker counted too many requests
    │       ├── TokenRejected       the broker no longer accepts the token
    │       ├── TokenMissing        no token was issued yet
    │       ├── TokenContested      tokens do not last: the next is issued later
    │       ├── TokenNotIssued      the broker had none: it is asked again later
    │       ├── CalendarMissing     no trading calendar was loaded yet
    │       ├── VaultUnavailable    Secret Manager did not answer
    │       ├── DatabaseUnavailable PostgreSQL cannot be reached
    │       └── Busy                another attempt is at the series, or the wait
    │                               for a request slot is too long
    └── Unforeseen              a bug: the log has the traceback

No message of these errors ever holds a key, a secret or a token: the Functions
Framework sends the text of an exception back to the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.plain_text import sendable

if TYPE_CHECKING:
    from datetime import date

# What the broker refuses until someone has done something about it.
NEW_KEYS = (
    "add the right ones: gcloud secrets versions add kiwoom-app-key --data-file=- "
    "and likewise kiwoom-secret-key"
)
OTHER_HOST = "set KIWOOM_MODE to the host that the app key is for (real or mock)"
OTHER_ADDRESS = "register the address that requests come from in the broker's portal"
THEN_REFRESH = 'then publish {"reason":"operator","force":true} to the tokens topic'
BROKER_REMEDIES = {
    "8001": NEW_KEYS,
    "8002": NEW_KEYS,
    "8010": f"let all requests leave through one address; {THEN_REFRESH}",
    "8030": OTHER_HOST,
    "8031": f"{OTHER_HOST}; {THEN_REFRESH}",
    "8040": OTHER_ADDRESS,
    "8050": OTHER_ADDRESS,
}


class PipelineError(Exception):
    """Any failure the pipeline raises.

    ``error_code`` is its short, stable name: the ledger stores it, and dead letters are
    grouped by it. ``remedy`` is what an operator does about it.
    """

    error_code: str = "pipeline_error"
    remedy: str = "read the reason"

    def __str__(self) -> str:
        """The message; what it quotes is made safe to publish, log and store."""
        return sendable(super().__str__())


class ConfigError(PipelineError):
    """Variables are missing or wrong; the text names all of them at once."""

    error_code = "config"
    remedy = "set the variables that the reason names, and deploy again"


class DatabaseMisconfigured(ConfigError):
    """The connection to the database is not set up correctly; the text has the remedy.

    Once it is, every message that waited for it is handled.
    """

    error_code = "database_misconfigured"
    remedy = "do what the reason says; waiting messages are then handled"

    def __init__(self, problem: str, remedy: str) -> None:
        """Name the ``problem`` and the ``remedy``."""
        super().__init__(f"{problem}; {remedy}")
        self.remedy = remedy


class SecretMisconfigured(ConfigError):
    """Secret Manager does not let this function in; the text has the remedy.

    Once it does, every message that waited for it is handled.
    """

    error_code = "secret_misconfigured"
    remedy = "do what the reason says; waiting messages are then handled"

    def __init__(self, problem: str, remedy: str) -> None:
        """Name the ``problem`` and the ``remedy``."""
        super().__init__(f"{problem}; {remedy}")
        self.remedy = remedy


class PermanentError(PipelineError):
    """Waiting cannot help: the message goes to the dead letters at once."""

    error_code = "permanent"
    remedy = "read the reason"


class MalformedMessage(PermanentError):
    """A message has a field that cannot be accepted; the text says the remedy."""

    error_code = "malformed_message"
    remedy = "publish it again with the field corrected"

    def __init__(self, field: str, problem: str) -> None:
        """Name the ``field`` and the ``problem`` with its remedy."""
        super().__init__(f"{field}: {problem}")
        self.field = field


class CalendarUnknown(PermanentError):
    """A day that the trading calendar does not reach; it is not guessed."""

    error_code = "calendar_unknown"
    remedy = "give days within the calendar, or extend it: make calendar, then deploy"

    def __init__(self, day: date, first: date, last: date) -> None:
        """Name the ``day`` and the span of the calendar, both ends included."""
        super().__init__(
            f"{day} is outside the trading calendar ({first} to {last}); give days "
            "within it, extend it with `make calendar` and deploy, or publish "
            f'{{"open":"{day}"}} to the topic reference for this one day'
        )
        self.day = day


class UnknownTask(PermanentError):
    """A collect request whose task is not in the ledger."""

    error_code = "unknown_task"
    remedy = "publish a trigger instead of a request"


class UnknownStock(PermanentError):
    """The broker does not know the stock code (1902, 1903)."""

    error_code = "unknown_stock"
    remedy = "correct the stock code"


class NoCandles(PermanentError):
    """The broker has no candle at all where some were due."""

    error_code = "no_candles"
    remedy = "check whether the stock was delisted"


class BeyondRetention(PermanentError):
    """Minutes were requested that are older than the broker keeps."""

    error_code = "beyond_retention"
    remedy = "request days or weeks, which the broker keeps from the beginning"


class KiwoomRejected(PermanentError):
    """The broker refused the request for a reason that repeating will not change."""

    error_code = "kiwoom_rejected"
    remedy = "look the broker's code up, and read the reason"

    def __init__(
        self, api_id: str, broker_code: str, message: str, remedy: str = ""
    ) -> None:
        """Keep the broker's own ``broker_code`` (the four digits in brackets)."""
        text = f"{api_id}: the broker refused with {broker_code}: {message}"
        super().__init__(f"{text}; {remedy}" if remedy else text)
        self.broker_code = broker_code
        # ``kiwoom_1511`` and the like: the broker's code is what tells them apart.
        self.error_code = f"kiwoom_{broker_code}"
        self.remedy = remedy or self.remedy


class MalformedResponse(PermanentError):
    """The broker answered something that breaks its own contract."""

    error_code = "malformed_response"
    remedy = "read the reason; the broker may have changed its answers"


class StockListRejected(PermanentError):
    """The broker's stock list is empty or shrank too much; the stored one stays."""

    error_code = "stock_list_rejected"
    remedy = "nothing if it happens once; if it persists, see what the broker lists"


class SecretUnavailable(PermanentError):
    """A secret has no version that can be read; the text has the command to add one."""

    error_code = "secret_unavailable"
    remedy = "add a version of the secret; the reason has the command"


class AttemptsExhausted(PermanentError):
    """A task failed as often as it may; text and code are its last error's."""

    def __init__(self, error: PipelineError, attempts: int) -> None:
        """Keep the last ``error`` after this number of ``attempts``."""
        super().__init__(f"failed {attempts} times, at last: {error}")
        self.error_code = error.error_code
        self.remedy = error.remedy


class TransientError(PipelineError):
    """Waiting helps: the message is delivered again."""

    error_code = "transient"
    remedy = "nothing: the message is delivered again"


class KiwoomUnavailable(TransientError):
    """No answer in time, a broken connection, a server error, or no JSON."""

    error_code = "kiwoom_unavailable"
    remedy = "nothing: it is retried; if it persists, check whether the broker is down"


class PublishFailed(TransientError):
    """Pub/Sub did not take the messages; none of the batch may be relied on."""

    error_code = "publish_failed"
    remedy = "nothing: it is retried; if it persists, check topics and permissions"


class StaleSeries(TransientError):
    """The series or the calendar changed between planning and storing: plan again."""

    error_code = "stale_series"
    remedy = "nothing: the next attempt plans again"


class PriceBasisUnproven(TransientError):
    """The broker serves no candle that tells whether the prices we have moved."""

    error_code = "price_basis_unproven"
    remedy = (
        "usually temporary; if it persists, publish "
        '{"mode":"rebuild","timeframe":"…","stocks":["…"]}'
    )


class Postponed(TransientError):
    """No fault of the task: this attempt is not counted."""

    error_code = "postponed"
    remedy = "nothing: the message is delivered again"


class RateLimited(Postponed):
    """The broker answered that too many requests were made (1700, 1701, 1702).

    They are those of all tasks, and of other programs with the app key: no fault of
    this one, which a storm of a few minutes must not end.
    """

    error_code = "rate_limited"
    remedy = "nothing: the pace goes down for all instances and recovers"


class TokenRejected(Postponed):
    """The broker does not accept the access token (8003, 8005, 8103)."""

    error_code = "token_rejected"
    remedy = "nothing: another token is requested; if it persists, see token_refresher"

    def __init__(self, message: str, version: str | None = None) -> None:
        """Keep the ``version`` under which the vault has the token."""
        super().__init__(message)
        self.version = version


class TokenMissing(Postponed):
    """No token was issued yet; the token refresher will store one."""

    version: str | None = None
    error_code = "token_missing"
    remedy = "nothing: a token is requested; if it persists, see token_refresher"


class TokenContested(Postponed):
    """Tokens are refused soon after they were issued: another program issues them too.

    Each token that is issued may end the other program's, and the other way round.
    """

    error_code = "token_contested"
    remedy = (
        "stop the other program that issues tokens for this app key, or give it an "
        "app key of its own (docs/runbook.md)"
    )


class TokenNotIssued(Postponed):
    """The broker has issued no token several times; it is not asked all the time."""

    error_code = "token_not_issued"
    remedy = "read the reason, which has the broker's last answer; it is asked again"


class CalendarMissing(Postponed):
    """No trading calendar was loaded yet; the next sync of the calendar does that."""

    error_code = "calendar_missing"
    remedy = 'nothing after set-up; if it persists, publish {"sync":["calendar"]}'


class VaultUnavailable(Postponed):
    """Secret Manager did not answer."""

    error_code = "vault_unavailable"
    remedy = "nothing: it is retried; if it persists, check Secret Manager"


class DatabaseUnavailable(Postponed):
    """PostgreSQL did not answer or broke the connection."""

    error_code = "database_unavailable"
    remedy = "nothing: it is retried; if it persists, check PostgreSQL"


class Busy(Postponed):
    """Deliver again later (HTTP 429): nothing went wrong."""

    error_code = "busy"
    remedy = "nothing: the message is delivered again"


class Unforeseen(PipelineError):
    """A bug, known by the ``kind`` of exception alone."""

    error_code = "unforeseen"
    remedy = "the log has the traceback"

    def __init__(self, kind: str) -> None:
        """Name the ``kind`` of exception; its text may hold anything."""
        super().__init__(kind)


def remedies() -> dict[str, str]:
    """What an operator does about each error, by its code; those of this module."""
    found = {f"kiwoom_{code}": told for code, told in BROKER_REMEDIES.items()}
    classes: list[type[PipelineError]] = [PipelineError]
    while classes:
        error = classes.pop()
        if error.__module__ == __name__ and "error_code" in vars(error):
            found[error.error_code] = error.remedy
        classes += error.__subclasses__()
    return found


def remedy_of(error_code: str) -> str:
    """What an operator does about an error, by the code that the ledger stored."""
    found = remedies().get(error_code)
    if found is None and error_code.startswith("kiwoom_"):
        return KiwoomRejected.remedy
    return found or PipelineError.remedy
