"""Search: trigram indexes, and the lower-case key of a group's description."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import sqlalchemy as sa
from alembic import op

from schema.engine.model.field import lower_case

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

AT_A_TIME = 10_000
_GROUP = (
    # group_searched
    "CREATE TABLE group_searched (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE)",
    # group_search
    "CREATE VIRTUAL TABLE group_search USING fts5(name, description, content='', columnsize=0, "
    "tokenize='trigram case_sensitive 1')",
    # group_search_batch
    "CREATE TRIGGER group_search_batch AFTER INSERT ON group_searched WHEN new.number % 32 = 0 BEGIN "
    "INSERT INTO group_search (rowid, name, description) SELECT n.number, r.name_key, r.description_key "
    'FROM group_searched n JOIN "group" r ON r.id = n.id WHERE n.number > new.number - 32 AND n.number <='
    " new.number ORDER BY n.number; END",
    # group_search_new
    'CREATE TRIGGER group_search_new AFTER INSERT ON "group" BEGIN INSERT INTO group_searched (id) VALUES'
    " (new.id); END",
    # group_search_changed
    'CREATE TRIGGER group_search_changed AFTER UPDATE OF name_key, description_key ON "group" WHEN '
    "old.name_key IS NOT new.name_key OR old.description_key IS NOT new.description_key BEGIN INSERT INTO"
    " group_search (group_search, rowid, name, description) SELECT 'delete', number, old.name_key, "
    "old.description_key FROM group_searched WHERE id = old.id AND number <= (SELECT seq / 32 * 32 FROM "
    "sqlite_sequence WHERE name = 'group_searched'); INSERT INTO group_search (rowid, name, description) "
    "SELECT number, new.name_key, new.description_key FROM group_searched WHERE id = old.id AND number <="
    " (SELECT seq / 32 * 32 FROM sqlite_sequence WHERE name = 'group_searched'); END",
    # group_search_gone
    'CREATE TRIGGER group_search_gone AFTER DELETE ON "group" BEGIN INSERT INTO group_search '
    "(group_search, rowid, name, description) SELECT 'delete', number, old.name_key, old.description_key "
    "FROM group_searched WHERE id = old.id AND number <= (SELECT seq / 32 * 32 FROM sqlite_sequence WHERE"
    " name = 'group_searched'); DELETE FROM group_searched WHERE id = old.id; END",
    # fill
    'INSERT INTO group_searched (id) SELECT id FROM "group" ORDER BY id',
)
_USER = (
    # user_searched
    "CREATE TABLE user_searched (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE)",
    # user_search
    "CREATE VIRTUAL TABLE user_search USING fts5(first_name, last_name, email, content='', columnsize=0, "
    "tokenize='trigram case_sensitive 1')",
    # user_search_batch
    "CREATE TRIGGER user_search_batch AFTER INSERT ON user_searched WHEN new.number % 32 = 0 BEGIN INSERT"
    " INTO user_search (rowid, first_name, last_name, email) SELECT n.number, r.first_name_key, "
    'r.last_name_key, r.email_key FROM user_searched n JOIN "user" r ON r.id = n.id WHERE n.number > '
    "new.number - 32 AND n.number <= new.number ORDER BY n.number; END",
    # user_search_new
    'CREATE TRIGGER user_search_new AFTER INSERT ON "user" BEGIN INSERT INTO user_searched (id) VALUES (new.id); END',
    # user_search_changed
    "CREATE TRIGGER user_search_changed AFTER UPDATE OF first_name_key, last_name_key, email_key ON "
    '"user" WHEN old.first_name_key IS NOT new.first_name_key OR old.last_name_key IS NOT '
    "new.last_name_key OR old.email_key IS NOT new.email_key BEGIN INSERT INTO user_search (user_search, "
    "rowid, first_name, last_name, email) SELECT 'delete', number, old.first_name_key, old.last_name_key,"
    " old.email_key FROM user_searched WHERE id = old.id AND number <= (SELECT seq / 32 * 32 FROM "
    "sqlite_sequence WHERE name = 'user_searched'); INSERT INTO user_search (rowid, first_name, "
    "last_name, email) SELECT number, new.first_name_key, new.last_name_key, new.email_key FROM "
    "user_searched WHERE id = old.id AND number <= (SELECT seq / 32 * 32 FROM sqlite_sequence WHERE name "
    "= 'user_searched'); END",
    # user_search_gone
    'CREATE TRIGGER user_search_gone AFTER DELETE ON "user" BEGIN INSERT INTO user_search (user_search, '
    "rowid, first_name, last_name, email) SELECT 'delete', number, old.first_name_key, old.last_name_key,"
    " old.email_key FROM user_searched WHERE id = old.id AND number <= (SELECT seq / 32 * 32 FROM "
    "sqlite_sequence WHERE name = 'user_searched'); DELETE FROM user_searched WHERE id = old.id; END",
    # fill
    'INSERT INTO user_searched (id) SELECT id FROM "user" ORDER BY id',
)


_TRIGRAMS = {"group": ("name_key", "description_key"), "user": ("first_name_key", "last_name_key", "email_key")}


def upgrade() -> None:
    with op.batch_alter_table("group", recreate=_recreate(), copy_from=_group()) as batch_op:
        batch_op.add_column(sa.Column("description_key", _text(), nullable=True))
    _fill_keys()
    if op.get_bind().dialect.name == "sqlite":
        for statement in (*_GROUP, *_USER):
            op.execute(statement)
        return
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    for table, columns in _TRIGRAMS.items():
        for column in columns:
            op.execute(f'CREATE INDEX {table}_{column}_trigrams ON "{table}" USING gin ({column} gin_trgm_ops)')


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in ("user", "group"):
            for trigger in ("gone", "changed", "new", "batch"):
                op.execute(f"DROP TRIGGER {table}_search_{trigger}")
            op.execute(f"DROP TABLE {table}_search")
            op.execute(f"DROP TABLE {table}_searched")
    else:
        for table, columns in _TRIGRAMS.items():
            for column in columns:
                op.execute(f"DROP INDEX {table}_{column}_trigrams")
    with op.batch_alter_table("group", recreate=_recreate(), copy_from=_group(_key())) as batch_op:
        batch_op.drop_column("description_key")


def _fill_keys() -> None:
    """Fill the key column in batches; Python lower-cases the texts, as for all keys."""
    connection, group = op.get_bind(), sa.table("group", sa.column("id"), sa.column("description"), _key())
    result = connection.execute(sa.select(group.c.id, group.c.description).where(group.c.description.is_not(None)))
    rows: Iterator[dict[str, str]] = ({"row": id, "key": lower_case(text)} for id, text in result.all())
    change = sa.update(group).where(group.c.id == sa.bindparam("row")).values(description_key=sa.bindparam("key"))
    while batch := list(islice(rows, AT_A_TIME)):
        connection.execute(change, batch)


def _recreate() -> Literal["always", "never"]:
    """Recreate the table on SQLite, so that the column is at its place among the others."""
    return "always" if op.get_bind().dialect.name == "sqlite" else "never"


def _text(length: int | None = None) -> sa.types.TypeEngine[str]:
    return sa.String(length=length).with_variant(sa.String(length=length, collation="C"), "postgresql")


def _key() -> sa.Column[str]:
    return sa.Column("description_key", _text(), nullable=True)


def _group(*more: sa.Column[str]) -> sa.Table:
    """The table with its CHECK constraints, which Alembic does not reflect."""
    columns = ("active", "created_at", "name", "name_key", "updated_at")
    return sa.Table(
        "group",
        sa.MetaData(),
        sa.Column("id", _text(36), nullable=False),
        sa.Column("created_at", _text(27), nullable=False),
        sa.Column("updated_at", _text(27), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", _text(100), nullable=False),
        sa.Column("description", _text(500), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("name_key", _text(), nullable=False),
        *more,
        sa.CheckConstraint("length(description) BETWEEN 1 AND 500", name=op.f("ck_group_description")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_group_name")),
        sa.CheckConstraint("version BETWEEN 1 AND 2147483647", name=op.f("ck_group_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group")),
        sa.UniqueConstraint("name", name=op.f("uq_group_name")),
        *(sa.Index(op.f(f"ix_group_{name}_id"), name, "id") for name in columns),
        sqlite_with_rowid=False,
    )
