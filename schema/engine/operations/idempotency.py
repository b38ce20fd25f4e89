"""Writes that are done once however often they are sent: each under a key that its caller has chosen.

The key and the answer are kept in the very transaction that does the write, so that after a crash both are there or
neither is. What is refused is not kept: the same request may succeed later. Keys belong to the actor who sent them, and
are forgotten after a day. That a key is taken is the table's business, so it holds between processes as well.
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
SWEPT, BETWEEN_SWEEPS = 200, 50  # more is swept than comes in
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
# In words that both databases know. What has expired is as good as gone, so its key is taken anew.
_CLAIM = text(
    "INSERT INTO kept_answer (actor, key, request, created_at) VALUES (:actor, :key, :request, :now) "
    "ON CONFLICT (actor, key) DO UPDATE SET request = excluded.request, created_at = excluded.created_at, "
    "id = NULL, version = NULL, whole = NULL, answer = NULL "
    "WHERE kept_answer.created_at < :expired RETURNING key"
)
# PostgreSQL's: a lock that ends with the transaction, and is not waited for.
_ALONE = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"
_MINE = (KEPT_ANSWERS.c.actor == bindparam("its_actor"), KEPT_ANSWERS.c.key == bindparam("its_key"))
_LOOK = select(
    KEPT_ANSWERS.c.request, KEPT_ANSWERS.c.id, KEPT_ANSWERS.c.version, KEPT_ANSWERS.c.whole, KEPT_ANSWERS.c.answer
).where(*_MINE)
_KEEP = (
    update(KEPT_ANSWERS)
    .where(*_MINE)
    .values({name: bindparam(f"new_{name}") for name in ("id", "version", "whole", "answer")})
)
_EXPIRED = (
    select(KEPT_ANSWERS.c.actor, KEPT_ANSWERS.c.key)
    .where(KEPT_ANSWERS.c.created_at < bindparam("expired", type_=String()))
    .order_by(KEPT_ANSWERS.c.created_at)
    .limit(literal_column(str(SWEPT)))
)
_SWEEP = delete(KEPT_ANSWERS).where(tuple_(KEPT_ANSWERS.c.actor, KEPT_ANSWERS.c.key).in_(_EXPIRED))


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A request that is to be done once: the key that its caller gave it, and a digest of what it asks for."""

    key: str
    request: str


def idempotency_key(key: str, *request: Any) -> IdempotencyKey:
    """A request under a key, told from others by what it consists of."""
    spelled = json.dumps(request, sort_keys=True, default=str)
    return IdempotencyKey(key, hashlib.sha256(spelled.encode()).hexdigest())


def parse_key(key: str) -> str:
    """The key, or `ValueError`."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"it has to be 1 to {MAX_KEY_LENGTH} visible characters of ASCII, without blanks")
    return key


def key_owner(actor: Actor) -> str:
    """To whom an actor's keys belong: a credential, else a person, else all who have the same roles."""
    if actor.name or actor.id:
        return actor.name or f"user:{actor.id}"
    return f"roles:{','.join(sorted(actor.roles))} scopes:{','.join(sorted(actor.scopes))}"


def run_once(
    job: TransactionFunction,
    asked: IdempotencyKey,
    actor: Actor,
    compiled: Callable[[Executable], Statement],
    *,
    shared: bool = False,
) -> TransactionFunction:
    """The same job, done if its key is new; else what came of it the first time, `KeyReused` if that was another.

    `shared`: the database has several writers, so that another process may be at it just now: `UnderWay`.
    """
    # Who has other rights by now would be shown what they had then, or be refused what they had not.
    rights = json.dumps([sorted(actor.roles), sorted(actor.scopes), actor.id])
    request = hashlib.sha256(f"{asked.request} {rights}".encode()).hexdigest()
    mine = {"its_actor": key_owner(actor), "its_key": asked.key}
    moments = {"now": now(), "expired": ago(KEPT_FOR)}
    claim, look, keep, sweep = (compiled(statement) for statement in (_CLAIM, _LOOK, _KEEP, _SWEEP))
    sweeping = next(_WRITES) % BETWEEN_SWEEPS == 0

    def repeatable() -> QueryGenerator:
        if shared and not (yield _ALONE, (f"{mine['its_actor']} {asked.key}",))[0][0]:
            raise in_progress()
        new = yield claim.sql, claim.bind({"actor": mine["its_actor"], "key": asked.key, "request": request, **moments})
        if not new:
            rows = yield look.sql, look.bind(mine)
            return TransactionResult(_again(rows, request))
        if sweeping:
            yield sweep.sql, sweep.bind(moments)
        written: TransactionResult = yield from job()
        yield keep.sql, keep.bind({**mine, **_kept(written)})
        return written

    return repeatable


def in_progress() -> IdempotencyInProgress:
    """What to say to who repeats a request before it is answered."""
    return IdempotencyInProgress("a request under this key has come in and is not finished: send it again in a moment")


def _kept(written: TransactionResult) -> dict[str, Any]:
    """What is kept of an answer: a record as it was shown. Anything else, and a secret above all, is not."""
    id, found = written.result if isinstance(written.result, tuple) else (None, written.result)
    if written.secret or not isinstance(found, RecordResult):
        return dict.fromkeys(("new_id", "new_version", "new_whole", "new_answer"))
    return {"new_id": id, "new_version": found.version, "new_whole": found.whole, "new_answer": found.json}


def _again(rows: Rows, request: str) -> Any:
    if not rows:
        raise in_progress()
    first, id, version, whole, answer = rows[0]
    if first != request:
        raise IdempotencyMismatch("this key was used before, for another request: take a new one")
    if answer is None:
        raise Conflict("this was done before, under the same key, and its answer was to be had once only")
    found = RecordResult(bytes(answer), version, bool(whole))
    return found if id is None else (id, found)
