"""The simulated stock master (ka10099): the targets, and a whole market around them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from functions.reference_sync.reference_data import target_stocks
from infra.local.broker.faults import Kind

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from infra.local.broker.faults import Call, Fault
    from infra.local.broker.views import Disclosures

KOSPI, KOSDAQ, ETF = "0", "10", "8"
NAMES = {KOSPI: "거래소", KOSDAQ: "코스닥", ETF: "ETF"}
SIZES = {KOSPI: 950, KOSDAQ: 1_820, ETF: 130}
# Every so many codes, one with a letter as new listings have it.
LETTER_EVERY = 50
# The key of the second page of a list; it ends with the page's number, as all keys do.
LIST_KEY = "LIST0002"

Entry = dict[str, str | None]


def simulated() -> dict[str, Entry]:
    """About 2,900 entries by code; the delisted target is not among them."""
    entries = {
        stock.stock_code: _entry(stock.stock_code, stock.stock_name, stock.market_code)
        for stock in target_stocks()
        if stock.listed
    }
    number = 0
    for market, size in SIZES.items():
        missing = size - sum(e["marketCode"] == market for e in entries.values())
        while missing > 0:
            number += 1
            code = f"{number:04d}A0" if number % LETTER_EVERY == 0 else f"{number:05d}0"
            if code not in entries:
                entries[code] = _entry(code, f"가상{NAMES[market]}{number}", market)
                missing -= 1
    return entries


def recorded(folder: Path) -> dict[str, Entry]:
    """The entries of ``kospi_code.json`` and ``kosdaq_code.json`` in a folder."""
    entries: dict[str, Entry] = {}
    for file, market in (("kospi_code.json", KOSPI), ("kosdaq_code.json", KOSDAQ)):
        path = folder / file
        if path.exists():
            for code, facts in json.loads(path.read_text(encoding="utf-8")).items():
                known: Entry = {name: str(value) for name, value in facts.items()}
                entries[code] = _entry(code, str(facts["name"]), market) | known
    return entries or simulated()


def listing(
    entries: dict[str, Entry], market: str, disclosures: Disclosures, now: datetime
) -> list[Entry]:
    """What ka10099 answers for a market: KOSPI's list has the ETFs mixed in."""
    markets = {KOSPI, ETF} if market == KOSPI else {market}
    relisted = {
        delisting.stock_code: f"{delisting.listed_on:%Y%m%d}"
        for delisting in disclosures.delistings
        if delisting.listed_on and delisting.is_over(now)
    }
    return [
        {**entry, "regDay": relisted.get(code, entry["regDay"])}
        for code, entry in entries.items()
        if entry["marketCode"] in markets and not disclosures.is_delisted(code, now)
    ]


def spoilt(
    fault: Fault, call: Call, found: list[Entry], entries: dict[str, Entry]
) -> tuple[list[Entry], str]:
    """The list with a fault in it, and the key of its next page."""
    key = ""
    match fault.kind:
        case Kind.DUPLICATE_CODE:
            found = [*found[:1], *found]
        case Kind.BOTH_LISTS if call.market == KOSDAQ:
            first = next(e for e in entries.values() if e["marketCode"] == KOSPI)
            twin = {**first, "marketCode": KOSDAQ, "marketName": NAMES[KOSDAQ]}
            found = [twin, *found]
        case Kind.NULL_FIELDS:
            null: Entry = dict.fromkeys(found[0])
            found = [null | {"code": found[0]["code"]}, *found[1:]]
        case Kind.CONTINUED:
            half, key = len(found) // 2, LIST_KEY if call.page == 1 else ""
            found = found[:half] if call.page == 1 else found[half:]
        case Kind.SHORT_LIST:
            found = found[: fault.rows]
        case Kind.EMPTY:
            found = []
        case Kind.STALE:
            pass
        case _:
            return found, key
    fault.shown += 1
    return found, key


def _entry(code: str, name: str, market: str) -> Entry:
    return {
        "code": code,
        "name": name,
        "listCount": "0000000010000000",
        "auditInfo": "정상",
        "regDay": "20100104",
        "lastPrice": "00050000",
        "state": "증거금20%|담보대출|신용가능",
        "marketCode": market,
        "marketName": NAMES[market],
        "upName": "",
        "upSizeName": "",
        "companyClassName": "",
        "orderWarning": "0",
        "nxtEnable": "N",
    }
