"""Accounts whose requests to a model are refused again and again.

Revision: 0004
"""

import sqlalchemy as sa
from alembic import op

from tutela.store.tables import UTCTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "case_signals",
        sa.Column("account", sa.String(length=160), nullable=False),
        sa.Column("first_at", UTCTime(), nullable=False),
        sa.Column("last_at", UTCTime(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("recent", sa.JSON(), nullable=False),
        sa.Column("opened_at", UTCTime(), nullable=True),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_case_signals")),
    )
    op.create_index(op.f("ix_case_signals_last_at"), "case_signals", ["last_at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_case_signals_last_at"), table_name="case_signals")
    op.drop_table("case_signals")
