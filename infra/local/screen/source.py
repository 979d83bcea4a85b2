"""Whose prices a stack collects, in the words of the first and the last line."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rich.text import Text

from shared.sessions import KST
from shared.settings import MOCK_URL, REAL_URL, REQUESTS_PER_SECOND

if TYPE_CHECKING:
    from infra.local.options import Options

MADE_UP, REAL = "bold black on yellow", "bold white on dark_green"


def name(options: Options) -> str:
    """The broker, in capitals where its prices are not those of the market."""
    if not options.base_url:
        return "RECORDED PRICES" if options.data else "SIMULATED PRICES"
    hosts = {REAL_URL: "KIWOOM", MOCK_URL: "KIWOOM MOCK TRADING"}
    return hosts.get(options.base_url, f"BROKER {urlsplit(options.base_url).netloc}")


def badge(options: Options) -> Text:
    """The name, in a colour that tells made-up prices from real ones."""
    return Text.assemble((f" {name(options)} ", REAL if options.base_url else MADE_UP))


def source(options: Options) -> Text:
    """The name, where the prices come from, the limit, and the moment if it is set."""
    limit = pace(options)
    facts = [
        _origin(options),
        f"{limit:g} requests/s a call" if limit else "no request limit",
    ]
    if options.moment:
        facts.append(f"from {options.moment.astimezone(KST):%Y-%m-%d %H:%M} KST on")
    return Text.assemble(badge(options), f" {', '.join(filter(None, facts))}")


def pace(options: Options) -> float | None:
    """Requests a second that we allow ourselves for each of the broker's calls."""
    return REQUESTS_PER_SECOND[options.mode] if options.limited else None


def _origin(options: Options) -> str:
    if options.base_url:
        return urlsplit(options.base_url).netloc
    return options.data.name if options.data else ""
