"""Sealed local fingerprints, and who showed derivatives of them.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

from tutela.store.tables import UTCTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ENTRY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "sealed",
        sa.Column("entry_id", ENTRY, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("case_digest", sa.LargeBinary(), nullable=True),
        sa.Column("review", sa.String(length=8), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["entries.id"], name=op.f("fk_sealed_entry_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_sealed")),
    )
    op.create_index(op.f("ix_sealed_case_digest"), "sealed", ["case_digest"], unique=False)
    op.create_table(
        "sightings",
        sa.Column("entry_id", ENTRY, nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("nudity", sa.Boolean(), nullable=False),
        sa.Column("seen_at", UTCTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["entries.id"], name=op.f("fk_sightings_entry_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("entry_id", "account", "nudity", name=op.f("pk_sightings")),
    )


def downgrade() -> None:
    """What was sealed goes, and so do the entries that stood for it: they could never match."""
    op.drop_table("sightings")
    op.drop_index(op.f("ix_sealed_case_digest"), table_name="sealed")
    op.drop_table("sealed")
    op.execute("DELETE FROM entries WHERE signal = 'local'")
    op.execute("DELETE FROM counters WHERE name = 'secret'")
