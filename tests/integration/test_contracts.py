"""The adapters pass the same tests as the fakes that stand for them."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from infra.local.broker.faults import Fault, Kind
from shared.candles import Timeframe
from shared.clock import new_clock
from shared.database.candle_store import CandleStore
from shared.database.run_ledger import RunLedger
from shared.database.task_ledger import TaskLedger
from shared.kiwoom.charts import CHARTS
from shared.runs import NewRun
from shared.settings import SecretSettings
from shared.token_vault import Secrets, TokenVault, new_client
from tests.contracts.candle_source import STOCK, CandleSourceContract
from tests.contracts.candle_store import NOW, CandleStoreContract
from tests.contracts.task_ledger import TaskLedgerContract
from tests.contracts.token_vault import TokenVaultContract
from tests.support.builders import CALENDAR
from tests.support.harness import PipelineHarness


class SimulatedBroker:
    """The adapter of the broker's charts, on the simulated broker in this process."""

    page_size = CHARTS[Timeframe.DAY_1].page_size

    def __init__(self, world):
        self.world = world
        self.source = world.source()

    def acts(self, date, ratio):
        self.world.acts(STOCK, str(date), 1 / ratio)

    def answers(self, page, kind):
        kinds = {"blank": Kind.BLANK, "empty": Kind.EMPTY, "spoilt": Kind.CORRUPT}
        self.world.broker.faults = [Fault(kind=kinds[kind], page=page)]


class TestKiwoomCandles(CandleSourceContract):
    @pytest.fixture
    def broker(self, engine):
        return SimulatedBroker(PipelineHarness(engine, "2026-11-20 21:00"))


class Database:
    """Ledgers and store on a real database."""

    def __init__(self, engine):
        self.engine = engine
        self.ledger = TaskLedger(engine, max_attempts=3)
        self.store = CandleStore(engine, lambda: CALENDAR)
        self._runs = RunLedger(engine)

    def open(self, request):
        run = NewRun(
            run_id=request.run_id,
            message_id=request.run_id,
            trigger=b"{}",
            requests=[request],
            requested_at=NOW,
        )
        self._runs.open_run(run)
        with self.engine.begin() as connection:
            # A run has one task for each of its requests; here they come one by one.
            connection.execute(
                text(
                    "INSERT INTO tasks (run_id, stock_code, timeframe, request)"
                    " VALUES (:run_id, :stock_code, :timeframe, '{}')"
                    " ON CONFLICT DO NOTHING"
                ),
                {
                    "run_id": request.run_id,
                    "stock_code": request.stock_code,
                    "timeframe": request.timeframe.value,
                },
            )
        return request

    def asked_at(self, request):
        with self.engine.begin() as connection:
            return connection.execute(
                text(
                    "SELECT asked_at FROM series"
                    " WHERE stock_code = :stock_code AND timeframe = :timeframe"
                ),
                {
                    "stock_code": request.stock_code,
                    "timeframe": request.timeframe.value,
                },
            ).scalar()

    def expire(self, request):
        with self.engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE series SET leased_until = clock_timestamp()"
                    " WHERE stock_code = :stock_code AND timeframe = :timeframe"
                ),
                {
                    "stock_code": request.stock_code,
                    "timeframe": request.timeframe.value,
                },
            )


@pytest.fixture
def data(engine):
    return Database(engine)


class TestTaskLedger(TaskLedgerContract):
    pass


class TestCandleStore(CandleStoreContract):
    pass


class TestTokenVault(TokenVaultContract):
    @pytest.fixture
    def vault(self, secret_manager):
        secret_manager.create("kiwoom-token")
        settings = SecretSettings(
            project="test-project", emulator_host=secret_manager.host
        )
        secrets = Secrets(new_client(settings), settings.project, seconds=1)
        return TokenVault(secrets, "kiwoom-token")

    @pytest.fixture
    def destroy(self, secret_manager):
        return lambda: secret_manager.destroy("kiwoom-token")

    @pytest.fixture
    def now(self):
        return new_clock()()
