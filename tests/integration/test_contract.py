"""The contract of the API against the running function: whatever is asked, all holds."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, assume, settings

from tests.support import status_page

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")


@pytest.fixture
def api(engine, reference_data, database_url, tmp_path):
    """The contract as it is served, by the function as production runs it."""
    status_page.write(engine)
    with status_page.running(database_url, tmp_path) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        schema.config.update(base_url=url)
        yield schema


schema = schemathesis.pytest.from_fixture("api")


def is_ours(case):
    """The Functions Framework itself answers a path with a line feed."""
    values = (case.path_parameters or {}).values()
    return not any("\n" in unquote(str(value)) for value in values)


def is_a_range(case):
    """That a range has an end after its start, and is short, no schema can say."""
    start, end = (str((case.query or {}).get(name, "")) for name in ("start", "end"))
    return not start or (start >= "2026" and (not end or end > start))


@schema.parametrize()
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_the_contract_says(case):
    assume(is_ours(case) and is_a_range(case))
    case.call_and_validate()
