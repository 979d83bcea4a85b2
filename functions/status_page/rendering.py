"""How a page is made: its look, its template, its files, and how values are written."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from hashlib import sha256
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from flask import Response, request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from functions.status_page.answers import FOREVER
from functions.status_page.parameters import Parameters
from functions.status_page.problems import RequestError
from functions.status_page.words import LANGUAGES, Words, words
from shared.candles import Timeframe
from shared.sessions import KST
from shared.settings import MARKET

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

HERE = Path(__file__).parent
STATIC = HERE / "static"
THEMES = ("light", "dark")
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HTML = "text/html; charset=utf-8"
NOTHING = "-"
HOUR, DAY_SECONDS = 3600, 86400


class Look:
    """How a page looks: its language and theme, from the URL or from the browser."""

    def __init__(self, parameters: Parameters | None) -> None:
        """Take both from the last parameters; None takes what can be, and refuses none.

        A page that says what is wrong with a request looks as that request wanted.
        """
        choices = {"lang": LANGUAGES, "theme": THEMES}
        if parameters is not None:
            for name, known in choices.items():
                parameters.choice(name, known)
            parameters.refuse_the_rest()
        self.chosen = {
            name: value
            for name, known in choices.items()
            if (value := request.args.get(name)) in known and value
        }
        accepted = request.accept_languages.best_match(LANGUAGES, LANGUAGES[0])
        self.words: Words = words(self.chosen.get("lang") or accepted)
        self.theme = self.chosen.get("theme")

    def link(self, path: str, **values: object) -> str:
        """A path with its parameters, and with what was chosen for all pages."""
        query = {name: value for name, value in values.items() if value is not None}
        told = urlencode({**query, **self.chosen})
        return f"{path}?{told}" if told else path

    def here(self, **values: str) -> str:
        """This page, with another language or theme."""
        query = {**request.args.to_dict(), **values}
        return f"{quote(request.path)}?{urlencode(query)}"


def render(template: str, look: Look, values: Mapping[str, Any]) -> bytes:
    """A template with its values, in the language of the look."""
    word = look.words
    return (
        _environment()
        .get_template(template)
        .render(
            t=word,
            look=look,
            market=MARKET,
            static=static_path,
            timeframes=list(Timeframe),
            kst=_kst,
            clock=_clock,
            url=request.full_path.rstrip("?"),
            age=lambda seconds: _age(word, seconds),
            number=lambda value: f"{value:,}",
            share=_share,
            words_of=lambda *groups: json.dumps(
                {group: word.group(group) for group in groups}, ensure_ascii=False
            ),
            **values,
        )
        .encode()
    )


@cache
def style() -> Markup:
    """The style sheet of all pages, for a page that carries its own."""
    return Markup((STATIC / "page.css").read_text(encoding="utf-8"))  # noqa: S704 - ours


def static_file(digest: str, name: str) -> Response:
    """A file that never changes: its path has the hash of all of them."""
    Parameters().refuse_the_rest()
    content = _static().get(name)
    if content is None or digest != assets_digest():
        raise RequestError(404, "static", "no_file", {})
    response = Response(content, content_type=TYPES[Path(name).suffix])
    response.headers["Cache-Control"] = FOREVER
    return response


def static_path(name: str) -> str:
    """Where a static file is found; the framework serves /static/ itself."""
    return f"/assets/{assets_digest()}/{name}"


@cache
def assets_digest() -> str:
    """The hash of all that pages are made of."""
    digest = sha256()
    for folder in (STATIC, HERE / "templates", HERE / "words"):
        for path in sorted(folder.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _static() -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in STATIC.iterdir()
        if path.suffix in TYPES
    }


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _kst(at: datetime | date | None, form: str = "%Y-%m-%d %H:%M") -> str:
    """An instant in Seoul, or a day."""
    if at is None:
        return NOTHING
    if not isinstance(at, datetime):
        return str(at)
    return at.astimezone(KST).strftime(form)


def _clock(at: datetime | None, now: datetime) -> str:
    """The time of the day in Seoul, with the day if that is another one."""
    if at is None:
        return NOTHING
    is_today = at.astimezone(KST).date() == now.astimezone(KST).date()
    return _kst(at, "%H:%M" if is_today else "%m-%d %H:%M")


def _share(value: float | None) -> str:
    """A share in per cent; one that is not whole is never told as such."""
    if value is None:
        return NOTHING
    return f"{floor(value * 10_000) / 100:.2f} %"


def _age(word: Words, seconds: float) -> str:
    """A length of time in words, in its largest unit."""
    for unit, length in (("days", DAY_SECONDS), ("hours", HOUR), ("minutes", 60)):
        if seconds >= 2 * length or unit == "minutes":
            return word(f"age.{unit}", count=int(seconds // length))
    return ""
