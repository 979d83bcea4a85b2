from __future__ import annotations

from infra.local.logs import Tail, parse, styled

LINE = (
    "2026-11-20 10:30:19.251 ERROR   dead_letter message_id=7 "
    'reason="timeframe: \'15m\' is no \\"timeframe\\"" error_code=malformed_message'
)


def test_a_line_of_a_function_is_read():
    entry = parse(LINE)

    assert entry
    assert (entry.time, entry.severity, entry.event) == (
        "10:30:19",
        "ERROR",
        "dead_letter",
    )
    assert entry.facts == {
        "message_id": "7",
        "reason": "timeframe: '15m' is no \"timeframe\"",
        "error_code": "malformed_message",
    }


def test_a_line_of_another_program_is_not():
    assert parse("[2026-11-20 10:30:19 +0900] [1] [INFO] Booting worker") is None


def test_a_line_is_shown_with_the_part_that_wrote_it():
    assert styled("collector", LINE).plain.startswith(
        "collector                 10:30:19 dead_letter message_id=7 reason="
    )
    assert styled("postgres", "ready").plain == "postgres                  ready"


def test_half_a_line_waits_until_it_is_whole(tmp_path):
    log = tmp_path / "collector.log"
    tail = Tail(log)
    assert list(tail.lines()) == []

    log.write_text("one\ntw", encoding="utf-8")
    assert list(tail.lines()) == ["one"]
    log.write_text("one\ntwo\n", encoding="utf-8")
    assert list(tail.lines()) == ["two"]
    assert list(tail.lines()) == []
