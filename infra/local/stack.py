"""The whole pipeline on one machine: every part real but the broker and the vault."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from google.api_core.exceptions import GoogleAPIError
from google.cloud import pubsub_v1
from sqlalchemy.engine import make_url

from functions.reference_sync.reference_data import bundled_calendar, target_stocks
from infra import topology
from infra.database_rights import role_of
from infra.local import environment, pubsub_server, topics
from infra.local.moments import database_name
from infra.local.postgres import Postgres
from infra.local.processes import Child, StartFailed, free_port, stop_all
from infra.local.relay import Relay
from infra.local.secret_manager import SecretManager
from shared.clock import new_clock
from shared.database.engine import new_engine
from shared.database.run_ledger import run_id_of
from shared.database.session_store import SessionStore
from shared.database.stock_store import StockStore
from shared.settings import DatabaseSettings, SecretSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Engine

    from infra.local.options import Options
    from infra.local.pubsub_server import PubSubServer
    from infra.topology import Topology

ROOT = Path(__file__).parents[2]
PROJECT = "local-dev"


class Stack:
    """Starts everything in order, and stops it in the reverse one.

    Raises:
        StartFailed: If a part does not start; the end of its log is told.
    """

    def __init__(
        self,
        options: Options,
        directory: Path,
        *,
        durable: bool = True,
        say: Callable[[str], None] = lambda _: None,
        pipeline: Topology | None = None,
        environ: Mapping[str, str] | None = None,
        port: Callable[[str], int] = lambda _: free_port(),
    ) -> None:
        """Keep data and logs in ``directory``; tell each step with ``say``.

        ``pipeline`` is another topology than that of ``pipeline.yaml``; the functions
        are given ``environ`` on top of their own variables. ``port`` chooses where a
        part listens.
        """
        self.options = options
        self.topology = pipeline or topology.load()
        self.clock = new_clock(options.clock_offset)
        self.logs = directory / "logs"
        self.secrets = SecretManager(PROJECT, self.clock)
        self.functions: dict[str, Child] = {}
        self.ports: dict[str, int] = {}
        self.relays: dict[str, Relay] = {}
        self.postgres: Postgres | None = None
        self.broker: Child | None = None
        self.pubsub: PubSubServer | None = None
        self.engine: Engine
        self.publisher: pubsub_v1.PublisherClient
        self.database_url = options.database_url or ""
        self.pubsub_host = options.pubsub_host or ""
        self.base_url = options.base_url or ""
        self._directory = directory
        self._durable = durable
        self._extra_environ = dict(environ or {})
        self._say = say
        self._port = port
        self._running = ExitStack()

    def __enter__(self) -> Self:
        """Start everything."""
        self._directory.mkdir(parents=True, exist_ok=True)
        # Logs of an earlier stack are not those of this one.
        shutil.rmtree(self.logs, ignore_errors=True)
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._running.close()

    def publish(self, topic: str, data: bytes) -> str:
        """Publish one message; return its id."""
        path = self.publisher.topic_path(PROJECT, topic)
        return str(self.publisher.publish(path, data).result(timeout=30))

    def trigger(self, data: bytes) -> str:
        """Publish a trigger; return the run that it leads to."""
        return run_id_of(self.publish("triggers", data), self._scope)

    def check(self) -> None:
        """Check that no part has ended unexpectedly.

        Raises:
            StartFailed: If one has; the end of its log is told.
        """
        for child in (*self.functions.values(), self.broker, self.pubsub):
            if child:
                child.check()

    def start_function(self, name: str) -> None:
        """Start a function as production runs it, and wait until it listens."""
        function = self.topology.functions[name]
        self.functions[name] = Child(
            name,
            [
                str(Path(sys.executable).with_name("functions-framework")),
                *("--source", str(ROOT / "functions" / function.source / "main.py")),
                *("--target", function.entry_point),
                *("--host", "127.0.0.1", "--port", str(self.ports[name])),
            ],
            log=self.logs / f"{name}.log",
            environ=self._function_environ(name),
            cwd=ROOT,
        )

    def _start(self) -> None:
        """Start the parts; what takes long is started before it is waited for."""
        self._start_pubsub()
        self._start_broker()
        self._start_database()
        if self.pubsub:
            self.pubsub.wait()
        os.environ["PUBSUB_EMULATOR_HOST"] = self.pubsub_host
        self._start_secrets()
        self._say("functions")
        for name in self.topology.functions:
            self.ports[name] = self._port(name)
            self.start_function(name)
        self._running.callback(self._stop_processes)
        self._say("migrations and reference data")
        self._migrate()
        for name, child in self.functions.items():
            child.wait_for_port(self.ports[name])
        self._say("topics and subscriptions")
        self._connect_pubsub()

    def _start_database(self) -> None:
        if not self.database_url:
            self._say("PostgreSQL")
            self.postgres = Postgres(
                self._directory / "postgres", self.logs, durable=self._durable
            )
            self._running.callback(self.postgres.stop)
            self.postgres.port = self._port("postgres")
            self.postgres.start()
            self.database_url = self.postgres.create(
                database_name(self.options, self.postgres, self._directory)
            )
        settings = DatabaseSettings(url=self.database_url, pool_size=2)
        self.engine = new_engine(settings)
        self._running.callback(self.engine.dispose)

    def _start_pubsub(self) -> None:
        if self.pubsub_host:
            self._say(f"Pub/Sub at {self.pubsub_host} is used")
            return
        self.pubsub = pubsub_server.choose(self.options.pubsub, self.logs, _environ())
        self._say(self.pubsub.description)
        self.pubsub.port = self._port("pubsub")
        self._running.callback(self.pubsub.stop)
        self.pubsub.start()
        self.pubsub_host = self.pubsub.host

    @cached_property
    def _scope(self) -> str:
        """Sets the run ids of this stack apart where message ids begin again at 1.

        They do so at every start of Google's emulator, but not of the embedded one.
        """
        return "" if self._is_embedded else uuid.uuid4().hex

    @property
    def _is_embedded(self) -> bool:
        return self.pubsub is not None and self.pubsub.kind == pubsub_server.EMBEDDED

    def _start_broker(self) -> None:
        if self.base_url:
            return
        self._say("simulated broker")
        port = self._port("broker")
        offset = self.options.clock_offset.total_seconds()
        command = [sys.executable, "-m", "infra.local.broker.server"]
        command += ["--port", str(port), "--mode", self.options.mode]
        command += [f"--clock-offset={offset}"]
        command += [] if self.options.limited else ["--no-limit"]
        command += ["--data", str(self.options.data)] if self.options.data else []
        self.broker = Child(
            "the simulated broker",
            command,
            log=self.logs / "broker.log",
            environ=_environ(),
            cwd=ROOT,
        )
        self._running.callback(self.broker.stop)
        self.base_url = f"http://127.0.0.1:{port}"
        self._broker_port = port

    def _start_secrets(self) -> None:
        names = SecretSettings(project=PROJECT, emulator_host=None)
        self.secrets.create(names.app_key, self.options.app_key.encode())
        self.secrets.create(names.secret_key, self.options.secret_key.encode())
        self.secrets.create(names.token)
        self.secrets.start()
        self._running.callback(self.secrets.stop)

    def _migrate(self) -> None:
        migrated = subprocess.run(
            [sys.executable, "-m", "infra.migrate"],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=_environ()
            | {"DATABASE_URL": self.database_url, "DATABASE_GRANTS": self._grants()},
        )
        if migrated.returncode:
            message = f"the migration failed:\n{migrated.stderr[-2000:]}"
            raise StartFailed(message)
        SessionStore(self.engine).write(bundled_calendar())
        StockStore(self.engine).upsert_all(target_stocks())

    def _grants(self) -> str:
        """As in production, each function may do no more than it must.

        A database of the user's own is used with the one account that there is.
        """
        if self.postgres is None:
            return ""
        grants = []
        for function in self.topology.functions.values():
            if role := role_of(function):
                self.postgres.create_account(function.name)
                grants.append(f"{role}={function.name}")
        return ",".join(grants)

    def _connect_pubsub(self) -> None:
        if self.broker:
            self.broker.wait_for_port(self._broker_port)
        self.publisher = pubsub_v1.PublisherClient()
        self._running.callback(self.publisher.stop)
        try:
            relayed = topics.create(
                self.topology,
                PROJECT,
                self.ports,
                pushes=None if self._is_embedded else topics.EMULATOR_PUSHES,
                push=self.options.push,
            )
        except GoogleAPIError as error:
            message = f"Pub/Sub at {self.pubsub_host} refuses: {error}"
            raise StartFailed(message) from error
        for name in relayed:
            self._start_relay(name)
        self._running.callback(self._stop_relays)

    def restart_push(self, name: str) -> None:
        """Abandon all pushes of a subscription that are under way, and begin again."""
        if name in self.relays:
            self.relays[name].stop()
            self._start_relay(name)
        else:
            topics.restart_push(PROJECT, name)

    def _start_relay(self, name: str) -> None:
        subscription = self.topology.subscriptions[name]
        function = self.topology.functions[subscription.function]
        endpoint = topics.push_endpoint(
            self.ports[function.name], PROJECT, subscription.topic
        )
        relay = Relay(PROJECT, subscription, endpoint, at_once=function.concurrency)
        relay.start()
        self.relays[name] = relay

    def _stop_relays(self) -> None:
        for relay in self.relays.values():
            relay.stop()

    def _stop_processes(self) -> None:
        """Stop together what would each take its time, as a function that collects."""
        self.engine.dispose()
        database = self.postgres.child if self.postgres else None
        pubsub = self.pubsub.child if self.pubsub else None
        parts = [*self.functions.values(), self.broker, database, pubsub]
        stop_all(filter(None, parts))

    def _function_environ(self, name: str) -> dict[str, str]:
        function = self.topology.functions[name]
        url = self.database_url
        if self.postgres:
            url = self.postgres.url(make_url(url).database or "", account=name)
        database = {
            "DATABASE_URL": url,
            "DATABASE_POOL": str(function.database_pool),
        }
        # They are fired here once the first collection is over.
        schedules = {"SCHEDULES": topology.schedules_setting(self.topology)}
        return {
            **_environ(),
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "FUNCTION_NAME": name,
            # As in production: one worker, as many threads as requests at a time.
            "THREADS": str(function.concurrency),
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "MESSAGE_ID_SCOPE": self._scope,
            "SECRET_MANAGER_EMULATOR_HOST": self.secrets.host,
            **(database if function.database != "none" else {}),
            **(schedules if function.reads_schedules else {}),
            "KIWOOM_BASE_URL": self.base_url,
            "PRICES": self.options.prices,
            "KIWOOM_MODE": self.options.mode,
            "KIWOOM_RATE": "on" if self.options.limited else "off",
            "CLOCK_OFFSET_SECONDS": str(self.options.clock_offset.total_seconds()),
            **self.topology.environment,
            **function.environment,
            **self._extra_environ,
        }


def _environ() -> dict[str, str]:
    return environment.for_children(os.environ, ROOT)


def remove_quietly(path: Path) -> None:
    """Remove a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
