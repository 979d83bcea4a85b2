"""The words of the page, in two languages."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import KiwoomRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).with_name("words")
LANGUAGES = ("ko", "en")
# What programs are told, and what there is of every error.
ENGLISH = "en"


class Words:
    """The words of one language."""

    def __init__(
        self, language: str, words: Mapping[str, str], remedies: Mapping[str, str]
    ) -> None:
        """``remedies`` has those of errors and reasons, by their codes."""
        self.language = language
        self.words = words
        self.remedies = remedies

    def __call__(self, key: str, **values: object) -> str:
        """The words for ``key``, with ``values`` in their places.

        A ``count`` of one has words of its own where there are some.
        """
        is_one = str(values.get("count")) == "1" and f"{key}.one" in self.words
        return self.words[f"{key}.one" if is_one else key].format(**values)

    def remedy(self, code: str, english: str) -> str:
        """What an operator does about an error or a reason, by its code."""
        if code not in self.remedies and code.startswith("kiwoom_"):
            code = KiwoomRejected.error_code
        return self.remedies.get(code, english)

    def group(self, prefix: str) -> dict[str, str]:
        """All words whose key begins with ``prefix`` and a full stop, without it."""
        begin = f"{prefix}."
        return {
            key.removeprefix(begin): words
            for key, words in self.words.items()
            if key.startswith(begin)
        }


@cache
def words(language: str) -> Words:
    """The words of a language."""
    # English remedies stand where errors and reasons are defined.
    remedies = {} if language == ENGLISH else _read(f"remedies.{language}")
    return Words(language, _read(language), remedies)


def _read(name: str) -> dict[str, str]:
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    read: dict[str, str] = json.loads(text)
    return read
