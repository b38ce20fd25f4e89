"""Opens sessions with PostgreSQL, and translates PostgreSQL's errors."""

from __future__ import annotations

import ssl
from os import R_OK, access
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncpg  # type: ignore[import-untyped]
from asyncpg import PostgresError

from schema.engine import database_errors
from schema.engine.database_url import PostgresAddress
from schema.engine.errors import (
    DATABASE_TIMEOUT,
    DATABASE_UNAVAILABLE,
    DISK_FAILURE,
    Conflict,
    DatabaseMisconfigured,
    DatabaseUnavailable,
    QueryTimeout,
)

Connection = Any
STATEMENT_CACHE_SIZE = 1024
CONNECT_TIMEOUT = 5.0  # seconds
_TLS_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# OpenSSL's X509_V_ERR_… codes: host name, e-mail or IP address mismatch; certificate has expired.
_NAME_MISMATCH, _EXPIRED = (62, 63, 64), 10
SET_PGBOUNCER = (
    "add pgbouncer=true to DATABASE_URL, or pgbouncer=false if each connection keeps its session and its settings"
)

# Seconds that a standby is behind; NULL on a primary. A standby that receives WAL and has replayed all of it is not
# behind, however long ago the last transaction was.
LAG_SQL = (
    "SELECT CASE WHEN NOT pg_is_in_recovery() THEN NULL"
    " WHEN EXISTS (SELECT FROM pg_stat_wal_receiver) AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE extract(epoch FROM clock_timestamp()"
    " - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))"
    " END::float8"
)

RETRYABLE = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
READ_ONLY_TRANSACTION = "25006"
READ_ONLY_MESSAGE = "the database is not available for changes: it is read-only"
DISK_ERRORS = ("53100", "58030")
# A server that stops, starts or is full sends these before it closes the connection, and only before a commit.
_SESSION_ENDED = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"}
_UNAVAILABLE = ("08", "25006", "28", "3D", "3F", "42P01", "42703", "42501", "53", "55006", "57P", "58", "F0", "XX")


def session_settings(server: PostgresAddress, deadline: float) -> dict[str, str]:
    """Return the parameters that a session starts with; times are in milliseconds."""
    statement_timeout, lock_timeout = int(deadline * 1000), max(int(deadline * 200), 10)
    settings = {"application_name": "tandem"}
    if server.pooled:
        return settings
    return {
        **settings,
        "statement_timeout": str(statement_timeout),
        "lock_timeout": str(lock_timeout),
        "idle_in_transaction_session_timeout": str(statement_timeout + 5000),
        # Plans are computed once for every parameter value; the statements are small, and JIT costs more than it gains.
        "plan_cache_mode": "force_generic_plan",
        "jit": "off",
    }


async def connect(server: PostgresAddress, deadline: float) -> Connection:
    """Open a session.

    Raises:
        DatabaseMisconfigured: trying again does not help; the message says which setting is wrong.
        DatabaseUnavailable: the server cannot be reached now.
    """
    try:
        connection = await asyncpg.connect(
            server.url,
            ssl=ssl.create_default_context() if server.system_roots else None,
            timeout=min(CONNECT_TIMEOUT, deadline),
            statement_cache_size=0 if server.pooled else STATEMENT_CACHE_SIZE,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings=session_settings(server, deadline),
        )
    except (PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise _tls_error(server, error) or _connection_error(error) from error
    if not server.declared:
        await _refuse_pooler(connection)
    return connection


def translate_error(error: BaseException) -> BaseException:
    """Return the engine's error for one of PostgreSQL's; any other error, and any mistake of ours, unchanged."""
    code = code_of(error)
    if code == "23505":
        return _unique_violation(error)
    if code == "23503":
        return database_errors.broken_reference()
    if code == "57014":
        return QueryTimeout(DATABASE_TIMEOUT)
    if code.startswith("54"):
        return database_errors.nested_too_deeply()
    if code == READ_ONLY_TRANSACTION:
        return DatabaseUnavailable(READ_ONLY_MESSAGE)
    if code in DISK_ERRORS:
        return DatabaseUnavailable(DISK_FAILURE)
    if code in RETRYABLE or code.startswith(_UNAVAILABLE) or is_connection_loss(error):
        return DatabaseUnavailable(DATABASE_UNAVAILABLE)
    return error


def code_of(error: BaseException) -> str:
    """Return the error's SQLSTATE, empty if it has none."""
    return getattr(error, "sqlstate", None) or ""


def is_connection_loss(error: BaseException) -> bool:
    if isinstance(error, PostgresError):
        return code_of(error) in _SESSION_ENDED or code_of(error).startswith("08")
    return isinstance(error, OSError | EOFError)


def is_rolled_back(error: BaseException) -> bool:
    """Whether nothing can have been committed by the statement whose connection was lost with this error.

    Either asyncpg had not sent it, or the server said that it ends the session, which it says only before a commit.
    """
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return True
    return any(code_of(cause) in _SESSION_ENDED for cause in (error, error.__cause__) if cause is not None)


async def _refuse_pooler(connection: Connection) -> None:
    """Raise `DatabaseMisconfigured` if the backend is not the one that we connected to.

    Then a pooler gives each transaction another backend, and the settings of one session apply to others.
    """
    try:
        # A simple query prepares no statement that would stay on another backend. If the ids differ, it divides by 0.
        await connection.execute(f"SELECT 1 / (pg_backend_pid() = {connection.get_server_pid()})::int")
    except PostgresError as error:
        connection.terminate()
        if code_of(error) == "22012":
            raise DatabaseMisconfigured(f"DATABASE_URL leads to a connection pooler: {SET_PGBOUNCER}") from error
        raise _connection_error(error) from error
    except (asyncpg.InterfaceError, OSError) as error:
        raise _connection_error(error) from error


def _connection_error(error: BaseException) -> DatabaseUnavailable:
    """Say why no session could be opened, never in asyncpg's words, which may quote the password."""
    code = code_of(error)
    if code == "08P01" and "startup parameter" in str(error):
        return DatabaseMisconfigured(
            f"DATABASE_URL leads to a connection pooler that accepts no settings: {SET_PGBOUNCER}"
        )
    if code.startswith("28"):
        return DatabaseMisconfigured(
            "the database refuses the login: check the user, the password and sslmode in DATABASE_URL"
        )
    if code.startswith("3D"):
        return DatabaseMisconfigured("the database that DATABASE_URL names does not exist on its server")
    if isinstance(error, asyncpg.InterfaceError | ValueError) and not isinstance(error, OSError):
        return DatabaseMisconfigured("DATABASE_URL has a parameter that is unknown, or a value that is not valid")
    if code == "53300":
        return DatabaseUnavailable("the database has no connection left")
    return DatabaseUnavailable(DATABASE_UNAVAILABLE)


def _tls_error(server: PostgresAddress, error: BaseException) -> DatabaseMisconfigured | None:
    """Say why TLS is not possible as DATABASE_URL demands it; None if TLS is not the reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _NAME_MISMATCH:
            return DatabaseMisconfigured(
                "the database's certificate is for another host than the one that DATABASE_URL names"
            )
        if error.verify_code == _EXPIRED:
            return DatabaseMisconfigured("the database's certificate has expired")
        return DatabaseMisconfigured(
            "the database's certificate is not signed by a trusted authority: check sslrootcert in DATABASE_URL"
        )
    parameters = parse_qsl(urlsplit(server.url).query)
    missing = [name for name, path in parameters if name in _TLS_FILES and not access(path, R_OK)]
    if missing and not server.system_roots and isinstance(error, OSError):
        return DatabaseMisconfigured(f"the file that {missing[0]} in DATABASE_URL names cannot be read")
    if isinstance(error, ssl.SSLError):
        return DatabaseMisconfigured(
            "TLS with the database failed: check sslmode, sslrootcert, sslcert and sslkey in DATABASE_URL"
        )
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return DatabaseMisconfigured("the database does not support TLS, which sslmode in DATABASE_URL requires")
    return None


def _unique_violation(error: Any) -> Conflict:
    table, constraint = error.table_name or "", error.constraint_name or ""
    column = "id" if constraint == f"pk_{table}" else constraint.removeprefix(f"uq_{table}_").removesuffix("_key")
    return database_errors.already_taken(column)
