from __future__ import annotations

import gc
import subprocess
import sys
from threading import Barrier, Thread

import pytest

from shared.instance import cached, freeze_gc


def test_a_value_is_built_once_also_by_many_threads():
    built = []
    together = Barrier(8)

    @cached
    def build():
        built.append(1)
        return object()

    def get():
        together.wait()
        build()

    threads = [Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert built == [1]


def test_what_failed_to_be_built_is_built_by_the_next_call():
    results = iter([ZeroDivisionError, "built"])

    @cached
    def build():
        result = next(results)
        if result is ZeroDivisionError:
            raise result
        return result

    with pytest.raises(ZeroDivisionError):
        build()

    assert build() == "built"


def test_frozen_objects_are_no_longer_collected():
    threshold = gc.get_threshold()
    try:
        freeze_gc()
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold()[0] == 10_000
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


@pytest.mark.parametrize("name", ["collector", "dispatcher"])
def test_importing_a_function_tunes_nothing_and_loads_no_publisher(name):
    program = (
        "import gc, sys; before = gc.get_threshold()\n"
        f"import functions.{name}.main\n"
        "assert gc.get_threshold() == before and not gc.get_freeze_count()\n"
        "assert 'google.cloud.pubsub_v1' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_page_that_has_nothing_to_log_does_not_load_what_writes_lines():
    program = (
        "import sys\n"
        "import functions.status_page.main\n"
        "from shared.logging import configure_logging\n"
        "from shared.settings import LogSettings\n"
        "configure_logging(LogSettings(project='p', service='s'))\n"
        "assert 'google.cloud.logging_v2' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
