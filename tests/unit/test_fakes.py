"""The fakes pass the same tests as the adapters that they stand for."""

from __future__ import annotations

import pytest

from tests.contracts.candle_source import STOCK, TODAY, CandleSourceContract
from tests.contracts.candle_store import CandleStoreContract
from tests.contracts.task_ledger import TaskLedgerContract
from tests.contracts.token_vault import TokenVaultContract
from tests.support import fake_series
from tests.support.builders import CALENDAR, a_candle, day, kst
from tests.support.fakes import FakeVault

NOW = kst("2026-11-20 12:10")


class FakeBroker:
    page_size = 40

    def __init__(self):
        sessions = list(CALENDAR.session_dates(day("2026-05-04"), TODAY))
        candles = [
            a_candle(str(date), stock_code=STOCK, volume=10_000 + n)
            for n, date in enumerate(sessions)
        ]
        self.source = fake_series.FakeSource(candles, self.page_size)

    def acts(self, date, ratio):
        self.source.actions.append((date, ratio))

    def answers(self, page, kind):
        newest = max(candle.opened_at for candle in self.source.candles)
        self.source.odd[page] = {
            "blank": fake_series.blank,
            "empty": fake_series.empty,
            "spoilt": fake_series.spoilt(newest),
        }[kind]


class TestFakeSource(CandleSourceContract):
    @pytest.fixture
    def broker(self):
        return FakeBroker()


@pytest.fixture
def data():
    return fake_series.Memory(max_attempts=3)


class TestFakeLedger(TaskLedgerContract):
    pass


class TestFakeStore(CandleStoreContract):
    pass


class TestFakeVault(TokenVaultContract):
    @pytest.fixture
    def vault(self):
        return FakeVault(now=NOW)

    @pytest.fixture
    def destroy(self, vault):
        return vault.destroy

    @pytest.fixture
    def now(self):
        return NOW
