"""Alembic's entry point. It gets an open connection from `commands.py`, and reads no settings."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import schema.engine.operations.cursor_key
import schema.engine.operations.idempotency  # the engine's own tables
import schema.models  # noqa: F401  the models register their tables
from schema.migrations.search_index import is_compared

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    compare_type=True,
    include_name=is_compared,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
