from __future__ import annotations

import pytest

from shared.errors import (
    BROKER_REMEDIES,
    AttemptsExhausted,
    KiwoomRejected,
    KiwoomUnavailable,
    PipelineError,
    remedies,
    remedy_of,
)


def classes(parent):
    for child in parent.__subclasses__():
        yield child
        yield from classes(child)


ERRORS = [
    error for error in classes(PipelineError) if error.__module__ == "shared.errors"
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_a_code_and_a_remedy_of_its_own(error):
    # AttemptsExhausted has those of its last error.
    if error is not AttemptsExhausted:
        assert "error_code" in vars(error)
        assert "remedy" in vars(error)


def test_no_two_errors_share_a_code():
    codes = [error.error_code for error in ERRORS if "error_code" in vars(error)]

    assert len(codes) == len(set(codes))


def test_the_code_of_the_broker_tells_its_refusals_apart():
    error = KiwoomRejected("ka10080", "8050", "no", "register the address")

    assert (error.error_code, error.remedy) == ("kiwoom_8050", "register the address")
    assert KiwoomRejected("ka10080", "1511", "no").remedy == KiwoomRejected.remedy


def test_a_remedy_is_found_by_the_code_that_was_stored():
    assert remedy_of("kiwoom_unavailable") == KiwoomUnavailable.remedy
    assert remedy_of("kiwoom_8050") == BROKER_REMEDIES["8050"]
    assert remedy_of("kiwoom_1511") == KiwoomRejected.remedy
    assert remedy_of("of_another_version") == PipelineError.remedy


def test_every_error_has_its_remedy_among_all():
    known = {error.error_code for error in ERRORS if "error_code" in vars(error)}
    broker = {f"kiwoom_{code}" for code in BROKER_REMEDIES}

    assert remedies().keys() == known | broker | {PipelineError.error_code}


def test_an_exhausted_task_is_known_by_its_last_error():
    error = AttemptsExhausted(KiwoomUnavailable("no answer"), 5)

    assert error.error_code == "kiwoom_unavailable"
    assert error.remedy == KiwoomUnavailable.remedy
