"""Wait in its place for a token: a task that has none is not turned away at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from shared.errors import TokenMissing, TokenRejected

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")
TokenFailed = TokenRejected | TokenMissing


def with_another_token(
    attempt: Callable[[], Result], has_another: Callable[[TokenFailed], bool]
) -> Result:
    """Make an ``attempt``; if its token fails and there is another, make one more.

    A message that is turned away comes back after ten seconds, then twenty and so on,
    and Pub/Sub pushes the whole subscription more slowly; a token is replaced within a
    second or two. Nothing is held meanwhile but the place: without a token, no other
    message could use it.

    Raises:
        TokenMissing, TokenRejected: If there is none, or that one fails as well.
        PipelineError: Whatever else an attempt raises.
    """
    try:
        return attempt()
    except (TokenMissing, TokenRejected) as error:
        if not has_another(error):
            raise
    return attempt()
