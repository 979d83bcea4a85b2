"""The words of the page, in two languages."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).with_name("words")
LANGUAGES = ("ko", "en")


class Words:
    """The words of one language."""

    def __init__(self, language: str, words: Mapping[str, str]) -> None:
        self.language = language
        self.words = words

    def __call__(self, key: str, **values: object) -> str:
        """The words for ``key``, with ``values`` in their places."""
        return self.words[key].format(**values)

    def get(self, key: str, default: str) -> str:
        """The words for ``key``, or ``default`` where there are none."""
        return self.words.get(key, default)

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
    path = FOLDER / f"{language}.json"
    return Words(language, json.loads(path.read_text(encoding="utf-8")))
