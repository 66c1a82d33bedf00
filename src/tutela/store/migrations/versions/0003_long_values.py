"""Fingerprints of films and sounds: entries are looked up by a digest where values are long.

Revision: 0003
"""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LIVE = sa.text("state <> 'deleted'")


def upgrade() -> None:
    empty = sa.text("''")
    op.add_column(
        "entries", sa.Column("digest", sa.LargeBinary(), server_default=empty, nullable=False)
    )
    op.execute("UPDATE entries SET digest = value WHERE length(value) <= 32")
    entries = sa.table(
        "entries", sa.column("id"), sa.column("value"), sa.column("digest", sa.LargeBinary())
    )
    long = sa.select(entries.c.id, entries.c.value).where(sa.func.length(entries.c.value) > 32)
    connection = op.get_bind()
    for entry, value in connection.execute(long).all():
        digest = hashlib.sha256(bytes(value)).digest()
        connection.execute(sa.update(entries).where(entries.c.id == entry).values(digest=digest))
    op.drop_index("ix_entries_signal_value", table_name="entries")
    op.drop_index("uq_entries_bank_id_signal_value", table_name="entries")
    op.create_index("ix_entries_signal_digest", "entries", ["signal", "digest"], unique=False)
    op.create_index(
        "uq_entries_bank_id_signal_digest",
        "entries",
        ["bank_id", "signal", "digest"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )


def downgrade() -> None:
    """Films and sounds go: what they were kept as is unknown to the version before."""
    op.execute("DELETE FROM entries WHERE signal IN ('vpdq', 'audio')")
    op.drop_index("uq_entries_bank_id_signal_digest", table_name="entries")
    op.drop_index("ix_entries_signal_digest", table_name="entries")
    op.drop_column("entries", "digest")
    if op.get_bind().dialect.name == "postgresql":
        # Written anew: an index would have to hold even what this transaction has deleted.
        op.execute("ALTER TABLE entries ALTER COLUMN value TYPE bytea USING value || ''::bytea")
    op.create_index("ix_entries_signal_value", "entries", ["signal", "value"], unique=False)
    op.create_index(
        "uq_entries_bank_id_signal_value",
        "entries",
        ["bank_id", "signal", "value"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )
