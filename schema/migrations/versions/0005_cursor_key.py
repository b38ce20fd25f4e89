"""Cursor key: the secret that signs the cursors of lists."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "cursor_key",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_cursor_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cursor_key")),
        sqlite_with_rowid=False,
    )
    op.bulk_insert(table, [{"id": 1, "secret": secrets.token_bytes(32)}])


def downgrade() -> None:
    op.drop_table("cursor_key")
