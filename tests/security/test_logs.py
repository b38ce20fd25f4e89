"""Logs hold nothing that was sent or stored, at any level, whatever went wrong.

No secret, token, e-mail address or GraphQL literal. In production a log is lines of JSON, each with its request's id.
"""

from __future__ import annotations

import io
import json
import logging
import sqlite3
import subprocess
import sys

import pytest
from graphql import GraphQLError, Source
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient

from api.app import create_app
from api.observability import logs
from api.settings import read_settings
from schema.engine.concurrency import SimpleBorrower
from tests.conftest import BASE_URL, CLIENT_ADDRESS
from tests.fixtures.clients import ADMIN

pytestmark = pytest.mark.sqlite

SECRETS = (
    "swordfish", "ada@example.org", "tdm_0123abcd_Zm9vYmFy", "eyJhbGciOiJIUzI1NiJ9", "LovelaceLiteral", "1739182736",
)  # fmt: skip
KEY, TOKEN = "tdm_0123abcd_Zm9vYmFy", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
NAMES = ("", "tandem", "api", "schema", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "py.warnings")


@pytest.fixture
def written():
    """The stream for the log; the configuration of logging is restored afterwards."""
    kept = {name: (logging.getLogger(name), logging.getLogger(name).level) for name in NAMES}
    handlers = {name: (logger.handlers[:], logger.propagate) for name, (logger, _) in kept.items()}
    yield io.StringIO()
    logging.captureWarnings(False)
    for name, (logger, level) in kept.items():
        logger.setLevel(level)
        logger.handlers, logger.propagate = handlers[name]


@pytest.fixture
def begin(written, database):
    """The service with its log, at a level."""
    clients = []

    def begun(level="info", environment="production"):
        logs.configure(level, development=environment == "development", stream=written)
        url = f"sqlite:///{database}"
        env = {"TANDEM_ENV": environment, "DATABASE_URL": url, "LOG_LEVEL": level, "TANDEM_RATE": "0"}

        async def authenticate(scope):
            return ADMIN

        http_client = TestClient(
            create_app(read_settings(env), authenticate),
            base_url=BASE_URL,
            client=CLIENT_ADDRESS,
            raise_server_exceptions=False,
        )
        clients.append(http_client.__enter__())
        return http_client

    yield begun
    for http_client in clients:
        http_client.__exit__(None, None, None)


def lines(written):
    return [json.loads(line) for line in written.getvalue().splitlines()]


SEARCH = '{ users(filter: {firstName: {eq: "LovelaceLiteral"}}) { totalCount } }'


class Strict(BaseModel):
    age: int


def exception_of(cause):
    """Return an exception, or the one that a function raises."""
    if isinstance(cause, Exception):
        return cause
    try:
        cause()
    except Exception as error:
        return error
    raise AssertionError


CAUSES = [
    RuntimeError("the password is 'swordfish'"),
    ValueError("invalid literal for int() with base 10: 'swordfish'"),
    KeyError("ada@example.org"),
    RuntimeError("sent to ada@example.org"),
    RuntimeError(f"Authorization: Bearer {TOKEN}"),
    RuntimeError(f"the key {KEY} is invalid"),
    RuntimeError("postgres://tandem:swordfish@db.example.org/tandem"),
    RuntimeError("first line\nDETAIL:  Key (email)=(ada@example.org) already exists. swordfish"),
    RuntimeError("Key (first_name)=(swordfish) is taken"),
    RuntimeError("age=1739182736 is out of bounds"),
    IntegrityError(
        "INSERT INTO user VALUES (?, ?)", ("swordfish", "ada@example.org"), sqlite3.IntegrityError("UNIQUE failed")
    ),
    GraphQLError(
        "Cannot query", source=Source('{ users(filter: {firstName: {eq: "LovelaceLiteral"}}) }'), positions=[2]
    ),
    lambda: Strict.model_validate({"age": "swordfish"}),
    lambda: int("swordfish"),
]


@pytest.mark.parametrize("environment", ["production", "development"])
@pytest.mark.parametrize("level", ["debug", "info"])
@pytest.mark.parametrize("cause", CAUSES, ids=[str(number) for number in range(len(CAUSES))])
@pytest.mark.slow
def test_no_value_of_a_request_or_record_is_logged(begin, written, monkeypatch, cause, level, environment):
    http_client = begin(level, environment)
    headers = {"authorization": f"Bearer {TOKEN}", "cookie": "swordfish", "x-api-key": KEY}
    literal = 'mutation { createUser(input: {firstName: "LovelaceLiteral", age: 1739182736}) { user { id } } }'

    async def broken(*_: object, **__: object) -> None:
        raise exception_of(cause) from ValueError("because of ada@example.org and 'swordfish'")

    person = {"first_name": "LovelaceLiteral", "age": 36, "email": "ada@example.org"}
    http_client.post("/users", json=person, headers=headers)
    http_client.post("/users", json=person, headers=headers)
    http_client.post("/users", content=b'{"email": "ada@example.org', headers={"content-type": "application/json"})
    http_client.get("/users?q=swordfish&email=ada@example.org", headers=headers)
    http_client.get("/users/ada@example.org")
    http_client.get(f"/nothing/{KEY}/{TOKEN}/ada%40example.org")
    http_client.post("/graphql", json={"query": literal, "variables": {"a": "swordfish"}}, headers=headers)
    for name in ("read", "write"):
        monkeypatch.setattr(http_client.app.state.directory, name, broken)
    responses = [
        http_client.get("/users?email=ada@example.org&first_name=swordfish", headers=headers),
        http_client.post("/graphql", json={"query": SEARCH}, headers=headers),
        http_client.post("/graphql", json={"query": literal}, headers=headers),
    ]

    assert (responses[0].status_code, responses[0].json()["code"]) == (500, "INTERNAL")
    assert written.getvalue()
    assert not [secret for secret in SECRETS if secret in written.getvalue()]
    assert not [secret for secret in SECRETS for response in responses if secret in response.text]


def test_a_failure_is_one_line_with_request_and_cause(begin, written, monkeypatch):
    http_client = begin()

    async def broken(*_: object) -> None:
        raise RuntimeError("the disk is 'swordfish'")

    monkeypatch.setattr(http_client.app.state.directory, "read", broken)
    response = http_client.get("/users?limit=3")

    failed, answered = lines(written)
    assert {failed["request_id"], answered["request_id"]} == {response.headers["x-request-id"]}
    assert response.json()["request_id"] == failed["request_id"]
    assert failed["level"] == "error"
    assert (failed["method"], failed["path"]) == ("GET", "/users")
    assert failed["error"]["type"] == "RuntimeError"
    assert failed["error"]["message"] == "the disk is …"
    assert any("test_logs.py" in place and place.endswith(" broken") for place in failed["error"]["at"])
    assert (answered["status"], answered["path"], answered["ms"] > 0) == (500, "/users", True)
    assert "limit" not in written.getvalue()
    assert failed["time"].endswith("Z")


@pytest.mark.slow
def test_successful_requests_are_logged_at_debug_only(begin, written):
    http_client = begin()
    http_client.get("/users")
    assert written.getvalue() == ""

    begin("debug").get("/users/x?y=z")

    assert [(line["path"], line["status"], line["level"]) for line in lines(written)] == [("/users/x", 422, "debug")]


def test_slow_requests_are_logged(begin, written, monkeypatch):
    monkeypatch.setattr("api.middleware.request_middleware.SLOW_SECONDS", 0.0)
    http_client = begin()

    http_client.get("/users")

    (line,) = lines(written)
    assert (line["level"], line["status"], line["path"]) == ("warning", 200, "/users")


@pytest.mark.slow
def test_overload_logs_one_line_a_second(begin, written, monkeypatch):
    http_client = begin()
    monkeypatch.setattr("api.middleware.request_exchange.WAIT_SECONDS", 0.0)
    limit = http_client.app.state.concurrency_limit
    while limit.try_acquire(SimpleBorrower(object())):
        pass
    for _ in range(20):
        assert http_client.get("/users").status_code == 503

    assert len(lines(written)) == 1


def test_libraries_log_in_the_same_format_from_warnings_on(written):
    logs.configure("debug", development=False, stream=written)

    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    logging.getLogger("uvicorn.error").debug("< TEXT 'swordfish'")
    logging.getLogger("aiosqlite").debug("executing %s", "swordfish")
    logging.getLogger("sqlalchemy.engine").info("swordfish")
    logging.getLogger("asyncio").warning("a task was never awaited")
    logging.getLogger("tandem.own").debug("first\nsecond", extra={"data": {"mail": ["ada@example.org"]}})

    records = lines(written)
    assert [record["logger"] for record in records] == ["uvicorn.error", "asyncio", "tandem.own"]
    assert records[0]["message"] == "Started server process [7]"
    assert records[2]["data"] == {"mail": ["…"]}


def test_the_log_is_readable_text_in_development(written):
    logs.configure("info", development=True, stream=written)

    try:
        raise RuntimeError("no such table: user")
    except RuntimeError:
        logging.getLogger("tandem").exception("the query failed", extra={"path": "/a\x1b[31mb\nc"})

    text = written.getvalue()
    assert "the query failed" in text
    assert "RuntimeError: no such table: user" in text
    assert "\x1b[31mb" not in text
    assert not text.startswith("{")


def test_production_does_not_import_structlog():
    code = (
        "import sys; from api.observability import logs; "
        "logs.configure('info', development=False); print('structlog' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("piece", ["a", "@", "a@", "eyJ", "'", "x=", "://", "bearer "])
def test_long_texts_are_truncated_before_redaction(piece):
    text = piece * 100_000

    assert len(logs.redacted(text)) <= 2000
    assert len(logs.describe_exception(RuntimeError(text))["message"]) <= 2000
