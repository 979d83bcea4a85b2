from __future__ import annotations

import errno

import pytest

from infra.local import advice, dev, moments
from infra.local.moments import choose_database
from shared.errors import ConfigError
from tests.support.builders import day, kst

REFUSED = (
    "au10001: the broker refused with {code}: App Key[{code}]; add the right ones: "
    "gcloud secrets versions add kiwoom-app-key --data-file=-"
)


@pytest.fixture
def env_file(tmp_path):
    path = tmp_path / ".env"
    path.write_text(
        "# keys\nKIWOOM_APP_KEY=a\nKIWOOM_SECRET_KEY=b\nKIWOOM_MODE=mock\n",
        encoding="utf-8",
    )
    return path


def test_wrong_keys_are_corrected_in_the_file(env_file):
    told = advice.refusal(REFUSED.format(code="8001"), env_file)

    assert told == (
        "the broker refused with 8001 (App Key[8001]): correct KIWOOM_APP_KEY (line 2)"
        " and KIWOOM_SECRET_KEY (line 3) in .env"
    )


def test_wrong_keys_of_the_environment_are_corrected_there(tmp_path):
    told = advice.refusal(REFUSED.format(code="8002"), tmp_path / "no.env")

    assert told.endswith(
        "correct KIWOOM_APP_KEY and KIWOOM_SECRET_KEY in the environment"
    )


def test_keys_of_the_other_host_are_told_so(env_file):
    told = advice.refusal(REFUSED.format(code="8030"), env_file)

    assert told.endswith("correct KIWOOM_MODE (line 4) in .env")


def test_an_unknown_address_is_registered(env_file):
    assert "register the address" in advice.refusal(
        REFUSED.format(code="8040"), env_file
    )


def test_another_reason_is_told_as_it_is(env_file):
    assert advice.refusal("no answer (Timeout)", env_file) == "no answer (Timeout)"


def test_a_foreign_folder_is_told_with_its_owner_and_the_remedy(tmp_path):
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "lock"))

    told = dev.os_error(error)

    assert "cannot be written" in told
    assert "sudo chown -R" in told


def test_a_full_disk_is_told(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    assert dev.os_error(error) == (
        f"the disk is full at {tmp_path}: make room, then start again"
    )


def test_a_part_that_has_ended_is_told_in_one_line():
    text = "collector has ended; the end of /logs/c.log:\nTraceback\nValueError: no"

    assert dev.brief(text) == "collector has ended: ValueError: no (see /logs/c.log)"
    assert dev.brief("a port is taken") == "a port is taken"


def test_a_moment_that_is_not_covered_is_told_with_the_range():
    with pytest.raises(ConfigError, match="has 2012-01-02 to 2031-01-01: choose"):
        moments.check_covered(
            kst("1999-01-01"), day("2012-01-02"), day("2031-01-01"), "the market"
        )


def test_a_folder_without_data_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"has no krx_\*\.csv\.gz"):
        moments.recorded_range(tmp_path)


def test_a_file_that_is_none_of_data_is_told(tmp_path):
    (tmp_path / "krx_2026.csv.gz").write_bytes(b"no gzip")

    with pytest.raises(ConfigError, match=r"krx_2026\.csv\.gz cannot be read"):
        moments.recorded_range(tmp_path)


@pytest.mark.parametrize(
    ("lived", "chosen"),
    [
        ({}, "at_20"),
        ({"at_10": kst("2026-11-10")}, "at_10"),
        ({"at_10": kst("2026-11-10"), "at_15": kst("2026-11-15")}, "at_15"),
        # It has candles that are still to come.
        ({"at_10": kst("2026-11-25")}, "at_20"),
        ({"at_10": kst("2026-11-15"), "at_20": kst("2026-11-20")}, "at_20"),
    ],
)
def test_a_later_moment_goes_on_where_an_earlier_one_stopped(lived, chosen):
    assert choose_database("at_20", lived, kst("2026-11-20")) == chosen
