"""Idempotency keys: a write is carried out once, however often it is sent under the same key.

The key and the response are stored in the transaction of the write, so that after a crash both are there or neither
is. Refused requests are not stored: the same request may succeed later. Keys belong to the actor who sent them, and
expire after a day. The table's primary key decides who comes first, so it holds between processes as well.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    bindparam,
    delete,
    literal_column,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.sql.base import Executable
from sqlmodel import SQLModel

from schema.engine.changes import TransactionResult
from schema.engine.driver import QueryGenerator, TransactionFunction
from schema.engine.errors import Conflict, IdempotencyInProgress, IdempotencyMismatch
from schema.engine.model.field import code_point_string
from schema.engine.model.policy import Actor
from schema.engine.model.record import ago, now
from schema.engine.sql.record_lookup import RecordResult, Rows
from schema.engine.sql.statement import Statement

KEPT_FOR = timedelta(hours=24)
MAX_KEY_LENGTH = 255
MAX_SWEPT, WRITES_PER_SWEEP = 200, 50  # removes more than is added
_KEY = re.compile(r"[!-~]{1,255}")
_WRITES = count(1)

KEPT_ANSWERS = Table(
    "kept_answer",
    SQLModel.metadata,
    Column("actor", code_point_string(), nullable=False),
    Column("key", code_point_string(MAX_KEY_LENGTH), nullable=False),
    Column("request", code_point_string(64), nullable=False),
    Column("created_at", code_point_string(27), nullable=False),
    Column("id", code_point_string(36), nullable=True),
    Column("version", Integer, nullable=True),
    Column("whole", Boolean, nullable=True),
    Column("answer", LargeBinary, nullable=True),
    PrimaryKeyConstraint("actor", "key"),
    Index(None, "created_at"),
    sqlite_with_rowid=False,
)
_COLUMNS = KEPT_ANSWERS.c
# In SQL that both databases know. An expired key is free to be claimed again.
_CLAIM = text(
    "INSERT INTO kept_answer (actor, key, request, created_at) VALUES (:actor, :key, :request, :now) "
    "ON CONFLICT (actor, key) DO UPDATE SET request = excluded.request, created_at = excluded.created_at, "
    "id = NULL, version = NULL, whole = NULL, answer = NULL "
    "WHERE kept_answer.created_at < :expired RETURNING key"
)
# PostgreSQL only: a lock that ends with the transaction; if another holds it, it is not waited for.
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"
_SAME_KEY = (_COLUMNS.actor == bindparam("key_actor"), _COLUMNS.key == bindparam("key_key"))
_SELECT = select(_COLUMNS.request, _COLUMNS.id, _COLUMNS.version, _COLUMNS.whole, _COLUMNS.answer).where(*_SAME_KEY)
_STORE = (
    update(KEPT_ANSWERS)
    .where(*_SAME_KEY)
    .values({name: bindparam(f"new_{name}") for name in ("id", "version", "whole", "answer")})
)
_EXPIRED = (
    select(_COLUMNS.actor, _COLUMNS.key)
    .where(_COLUMNS.created_at < bindparam("expired", type_=String()))
    .order_by(_COLUMNS.created_at)
    .limit(literal_column(str(MAX_SWEPT)))
)
_SWEEP = delete(KEPT_ANSWERS).where(tuple_(_COLUMNS.actor, _COLUMNS.key).in_(_EXPIRED))


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The key of a request, and a digest of the request's content."""

    key: str
    digest: str

    @classmethod
    def of(cls, key: str, *request: Any) -> IdempotencyKey:
        """The key of a request that consists of these JSON values."""
        text = json.dumps(request, sort_keys=True, default=str)
        return cls(key, hashlib.sha256(text.encode()).hexdigest())


def parse_key(text: str) -> str:
    """Return the key; raise `ValueError` if it is not one."""
    if not _KEY.fullmatch(text):
        raise ValueError(f"must have 1 to {MAX_KEY_LENGTH} visible ASCII characters, without spaces")
    return text


def key_owner(actor: Actor) -> str:
    """Name the owner of an actor's keys: a credential, else a person, else everybody with the same roles and scopes."""
    if actor.name or actor.id:
        return actor.name or f"user:{actor.id}"
    return f"roles:{','.join(sorted(actor.roles))} scopes:{','.join(sorted(actor.scopes))}"


def run_once(
    transaction: TransactionFunction,
    key: IdempotencyKey,
    actor: Actor,
    compiled: Callable[[Executable], Statement],
    *,
    several_writers: bool = False,
) -> TransactionFunction:
    """Wrap a transaction so that it runs if its key is new, and otherwise returns the stored result.

    With `several_writers`, another process may be running it.

    Raises:
        IdempotencyMismatch: the key was used for another request.
        IdempotencyInProgress: the same request is still running.
        Conflict: the request was carried out, and its result was not stored.
    """
    # The rights are part of the request: with others, the stored response might show too much, or refuse wrongly.
    rights = json.dumps([sorted(actor.roles), sorted(actor.scopes), actor.id])
    digest = hashlib.sha256(f"{key.digest} {rights}".encode()).hexdigest()
    owner = key_owner(actor)
    same_key = {"key_actor": owner, "key_key": key.key}
    times = {"now": now(), "expired": ago(KEPT_FOR)}
    claim, stored, store, sweep = (compiled(statement) for statement in (_CLAIM, _SELECT, _STORE, _SWEEP))
    sweeps = next(_WRITES) % WRITES_PER_SWEEP == 0

    def once() -> QueryGenerator:
        if several_writers and not (yield _LOCK, (f"{owner} {key.key}",))[0][0]:
            raise in_progress()
        claimed = yield claim.sql, claim.bind({"actor": owner, "key": key.key, "request": digest, **times})
        if not claimed:
            rows = yield stored.sql, stored.bind(same_key)
            return TransactionResult(_stored_result(rows, digest))
        if sweeps:
            yield sweep.sql, sweep.bind(times)
        result: TransactionResult = yield from transaction()
        yield store.sql, store.bind({**same_key, **_new_columns(result)})
        return result

    return once


def in_progress() -> IdempotencyInProgress:
    return IdempotencyInProgress("a request with this idempotency key is in progress; retry after a moment")


def _new_columns(result: TransactionResult) -> dict[str, Any]:
    """The columns that store a result. Only records are stored; secrets, above all, are not."""
    id, record = result.result if isinstance(result.result, tuple) else (None, result.result)
    if result.secret or not isinstance(record, RecordResult):
        return dict.fromkeys(("new_id", "new_version", "new_whole", "new_answer"))
    return {"new_id": id, "new_version": record.version, "new_whole": record.whole, "new_answer": record.json}


def _stored_result(rows: Rows, digest: str) -> Any:
    if not rows:
        raise in_progress()
    stored_digest, id, version, whole, json_text = rows[0]
    if stored_digest != digest:
        raise IdempotencyMismatch("this idempotency key was used for a different request; choose a new key")
    if json_text is None:
        raise Conflict("the request with this idempotency key was executed, and its response was not stored")
    record = RecordResult(bytes(json_text), version, bool(whole))
    return record if id is None else (id, record)
