"""PostgreSQL from outside: where it is, how a session with it begins, and what its errors mean to the caller."""

from __future__ import annotations

import ssl
from os import R_OK, access
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncpg  # type: ignore[import-untyped]
from asyncpg import PostgresError

from schema.engine.database_url import PostgresAddress
from schema.engine.errors import (
    DATABASE_TIMEOUT,
    DATABASE_UNAVAILABLE,
    DISK_FAILURE,
    Conflict,
    DatabaseMisconfigured,
    DatabaseUnavailable,
    FieldError,
    QueryTimeout,
    QueryTooComplex,
)

Connection = Any
STATEMENTS_KEPT = 1024
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# Of OpenSSL's X509_V_ERR_…: the name or the address is not the one that was asked for; it is not valid any more.
_OTHER_NAME, _EXPIRED = (62, 63, 64), 10
POOLER = "say pgbouncer=true in DATABASE_URL, or pgbouncer=false where a connection keeps its session and its settings"
PATIENCE = 5.0  # seconds until a server that does not answer is taken for absent

# How many seconds a standby is behind; null of what is none. One that hears from its primary, and has applied all that
# came, is not behind.
LAG = (
    "SELECT CASE WHEN NOT pg_is_in_recovery() THEN NULL"
    " WHEN EXISTS (SELECT FROM pg_stat_wal_receiver) AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE extract(epoch FROM clock_timestamp()"
    " - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))"
    " END::float8"
)

TRY_AGAIN = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
READ_ONLY = "25006"
READS_ALONE = "the database is not available for changes: it takes reads alone"
FULL = ("53100", "58030")
# Said in every case: a server that is stopping, starting or full says so before it closes the connection.
_GOING = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"}
_UNAVAILABLE = ("08", "25006", "28", "3D", "3F", "42P01", "42703", "42501", "53", "55006", "57P", "58", "F0", "XX")


def session(server: PostgresAddress, deadline: float) -> dict[str, str]:
    """What a session is told when it begins, in milliseconds where it is a time."""
    limit, wait = int(deadline * 1000), max(int(deadline * 200), 10)
    told = {"application_name": "tandem"}
    if server.pooled:
        return told
    return {
        **told,
        "statement_timeout": str(limit),
        "lock_timeout": str(wait),
        "idle_in_transaction_session_timeout": str(limit + 5000),
        # Plans are made once and serve everybody; they are small, and compiling them costs more than it gains.
        "plan_cache_mode": "force_generic_plan",
        "jit": "off",
    }


async def connect(server: PostgresAddress, deadline: float) -> Connection:
    """A session; whatever goes wrong is raised as `meaning` has it."""
    try:
        connection = await asyncpg.connect(
            server.url,
            ssl=ssl.create_default_context() if server.system_roots else None,
            timeout=min(PATIENCE, deadline),
            statement_cache_size=0 if server.pooled else STATEMENTS_KEPT,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings=session(server, deadline),
        )
    except (PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise _insecure(server, error) or unavailable(error) from error
    if not server.declared:
        await _expect_no_pooler(connection)
    return connection


async def _expect_no_pooler(connection: Connection) -> None:
    """`Hopeless` if who answers is another than who serves: then one session's statements are the next one's."""
    try:
        # Without preparing anything, for that would stay behind; a false comes out as a division by zero.
        await connection.execute(f"SELECT 1 / (pg_backend_pid() = {connection.get_server_pid()})::int")
    except PostgresError as error:
        connection.terminate()
        if code_of(error) == "22012":
            raise DatabaseMisconfigured(f"a pooler stands before the database: {POOLER}") from error
        raise unavailable(error) from error
    except (asyncpg.InterfaceError, OSError) as error:
        raise unavailable(error) from error


def unavailable(error: BaseException) -> DatabaseUnavailable:
    """Why there is no session. Never in the driver's words, which may quote what it was given."""
    code = code_of(error)
    if code == "08P01" and "startup parameter" in str(error):
        return DatabaseMisconfigured(f"a pooler that takes no settings stands before the database: {POOLER}")
    if code.startswith("28"):
        return DatabaseMisconfigured(
            "the database does not let Tandem in: see to user, password and sslmode in DATABASE_URL"
        )
    if code.startswith("3D"):
        return DatabaseMisconfigured("the database that DATABASE_URL names does not exist on its server")
    if isinstance(error, asyncpg.InterfaceError | ValueError) and not isinstance(error, OSError):
        return DatabaseMisconfigured("the database cannot be reached as DATABASE_URL has it: see to its parameters")
    if code == "53300":
        return DatabaseUnavailable("the database has no connection left")
    return DatabaseUnavailable(DATABASE_UNAVAILABLE)


def _insecure(server: PostgresAddress, error: BaseException) -> DatabaseMisconfigured | None:
    """What keeps TLS from being as the URL asks for, if that is it."""
    named = {name: word for name, word in parse_qsl(urlsplit(server.url).query) if name in _FILES}
    missing = [name for name, path in named.items() if not access(path, R_OK)]
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return DatabaseMisconfigured("the database's certificate is for another host than DATABASE_URL names")
        if error.verify_code == _EXPIRED:
            return DatabaseMisconfigured("the database's certificate has expired")
        return DatabaseMisconfigured(
            "the database's certificate is of nobody who is trusted: see to sslrootcert in DATABASE_URL"
        )
    if missing and not server.system_roots and isinstance(error, OSError):
        return DatabaseMisconfigured(f"the file that {missing[0]} in DATABASE_URL names cannot be read")
    if isinstance(error, ssl.SSLError):
        return DatabaseMisconfigured(
            "TLS with the database fails: see to sslmode, sslrootcert, sslcert and sslkey in DATABASE_URL"
        )
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return DatabaseMisconfigured("the database speaks no TLS, which sslmode in DATABASE_URL asks for")
    return None


def meaning(error: BaseException) -> BaseException:
    """What an error of PostgreSQL's means to the caller; any other, and any that is our own fault, as it is."""
    code = code_of(error)
    if code == "23505":
        return _taken(error)
    if code == "23503":
        return Conflict("other records refer to this one, or the one it refers to is gone")
    if code == "57014":
        return QueryTimeout(DATABASE_TIMEOUT)
    if code.startswith("54"):
        return QueryTooComplex("the query is nested too deeply for the database")
    if code == READ_ONLY:
        return DatabaseUnavailable(READS_ALONE)
    if code in FULL:
        return DatabaseUnavailable(DISK_FAILURE)
    if code in TRY_AGAIN or code.startswith(_UNAVAILABLE) or is_loss(error):
        return DatabaseUnavailable(DATABASE_UNAVAILABLE)
    return error


def code_of(error: BaseException) -> str:
    """Its SQLSTATE, empty where it has none."""
    return getattr(error, "sqlstate", None) or ""


def is_loss(error: BaseException) -> bool:
    """Whether the connection is lost with it."""
    if isinstance(error, PostgresError):
        return code_of(error) in _GOING or code_of(error).startswith("08")
    return isinstance(error, OSError | EOFError)


def is_undone(error: BaseException) -> bool:
    """Whether nothing can have come of what a connection was told that is lost with this.

    The driver had not sent it, or the server has said that it ends the session: that it only says before a commit.
    """
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return True
    return any(code_of(it) in _GOING for it in (error, error.__cause__) if it is not None)


def _taken(error: Any) -> Conflict:
    table, constraint = error.table_name or "", error.constraint_name or ""
    column = "id" if constraint == f"pk_{table}" else constraint.removeprefix(f"uq_{table}_").removesuffix("_key")
    return Conflict(f"that {column} is taken", [FieldError((column,), "it is taken", "taken")])
