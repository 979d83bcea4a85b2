"""Whoever changes what is absent, its sessions are counted in the same transaction."""

from __future__ import annotations

import random
from datetime import timedelta
from threading import Thread

import pytest
from sqlalchemy import text

from shared.database.engine import transaction
from shared.errors import PipelineError
from tests.support.builders import kst

# An evening: midnight in UTC is in the middle of a session of Seoul's.
FIRST = kst("2026-11-19 20:00")
RECOUNTED = text("""
    SELECT stock_code, timeframe, (opened_at AT TIME ZONE 'Asia/Seoul')::date AS day,
           count(*), count(*) FILTER (WHERE confirmations > 1)
    FROM absent_slots GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")
COUNTED = text("SELECT * FROM absence_counts ORDER BY 1, 2, 3")
ADD = text("""
    INSERT INTO absent_slots (stock_code, timeframe, opened_at, run_id)
    SELECT code, frame, at, 'run-1'
    FROM unnest(cast(:codes AS text[]), cast(:frames AS text[]),
                cast(:instants AS timestamptz[])) AS t (code, frame, at)
    ON CONFLICT (stock_code, timeframe, opened_at) DO UPDATE
    SET confirmations = absent_slots.confirmations + 1
""")
TAKE = text("""
    DELETE FROM absent_slots
    USING unnest(cast(:codes AS text[]), cast(:frames AS text[]),
                 cast(:instants AS timestamptz[])) AS t (code, frame, at)
    WHERE stock_code = code AND timeframe = frame AND opened_at = at
""")
CLEAR = text("DELETE FROM absent_slots WHERE stock_code = :code AND timeframe = :frame")
FRAMES = ["5m", "30m"]


def some_slots(randomness):
    """Up to thirty slots of three stocks in two timeframes, on two days."""
    places = randomness.sample(range(100), randomness.randrange(30))
    return {
        "codes": [f"00000{randomness.randrange(3)}" for _ in places],
        "frames": [randomness.choice(FRAMES) for _ in places],
        "instants": [
            (FIRST + timedelta(minutes=5 * place)).isoformat() for place in places
        ],
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_counts_are_those_of_the_slots_whatever_changed(engine, engine_of, seed):
    randomness = random.Random(seed)
    collector = engine_of("collector")

    for _ in range(20):
        with transaction(collector) as connection:
            connection.execute(ADD, some_slots(randomness))
            connection.execute(TAKE, some_slots(randomness))
            code = f"00000{randomness.randrange(3)}"
            whole = {"code": code, "frame": randomness.choice(FRAMES)}
            connection.execute(CLEAR, whole)
        with transaction(engine) as connection:
            counted = connection.execute(COUNTED).all()
            assert counted == connection.execute(RECOUNTED).all()


def test_no_function_counts_as_it_likes(engine_of):
    with (
        pytest.raises(PipelineError, match="absence_counts"),
        transaction(engine_of("collector")) as connection,
    ):
        connection.execute(text("DELETE FROM absence_counts"))


def test_who_counts_the_same_session_counts_what_the_other_has_changed(engine):
    with transaction(engine) as connection:
        connection.execute(
            text("INSERT INTO series (stock_code, timeframe) VALUES ('000001', '5m')")
        )
    first, second = (
        {"codes": ["000001"], "frames": ["5m"], "instants": [at.isoformat()]}
        for at in (FIRST, FIRST + timedelta(minutes=5))
    )
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def add_second():
        with transaction(engine) as connection:
            connection.execute(ADD, second)

    with transaction(engine) as connection:
        connection.execute(ADD, first)
        other = Thread(target=add_second)
        other.start()
        while not connection.execute(waiting).scalar_one():
            other.join(0.01)
            assert other.is_alive()
    other.join()

    with transaction(engine) as connection:
        assert [row.absent for row in connection.execute(COUNTED)] == [2]
