"""The simulated stock master (ka10099): the targets, and a whole market around them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from functions.reference_sync.reference_data import target_stocks

if TYPE_CHECKING:
    from pathlib import Path

KOSPI, KOSDAQ, ETF = "0", "10", "8"
NAMES = {KOSPI: "거래소", KOSDAQ: "코스닥", ETF: "ETF"}
SIZES = {KOSPI: 950, KOSDAQ: 1_820, ETF: 130}
# Every so many codes, one with a letter as new listings have it.
LETTER_EVERY = 50

Entry = dict[str, str]


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
                known = {name: str(value) for name, value in facts.items()}
                entries[code] = _entry(code, known["name"], market) | known
    return entries or simulated()


def listing(entries: dict[str, Entry], market: str) -> list[Entry]:
    """What ka10099 answers for a market: KOSPI's list has the ETFs mixed in."""
    markets = {KOSPI, ETF} if market == KOSPI else {market}
    return [entry for entry in entries.values() if entry["marketCode"] in markets]


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
