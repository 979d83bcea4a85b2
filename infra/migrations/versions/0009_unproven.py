"""A series remembers that its price basis contradicted itself.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ADD = """
ALTER TABLE series
    ADD COLUMN unproven_on date,
    ADD COLUMN unproven_ratio double precision CHECK (unproven_ratio > 0),
    ADD CHECK ((unproven_on IS NULL) = (unproven_ratio IS NULL));
COMMENT ON COLUMN series.unproven_on IS
    'When the whole series was last read and newer candles alone had moved, by
unproven_ratio; nothing is settled until the older ones have moved as well';
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(ADD)


def downgrade() -> None:
    """Take them away again."""
    op.execute("ALTER TABLE series DROP COLUMN unproven_on, DROP COLUMN unproven_ratio")
