"""The upper bound on SQLite: plain ASGI, hand-written SQL, orjson. No framework, no access rules, few errors."""

from __future__ import annotations

import os
import sqlite3
from random import randrange, sample
from urllib.parse import parse_qs

import orjson
from graphs import graphql
from shared import (
    COLUMNS,
    JSON,
    MISSING,
    NAMES,
    PAGE,
    TAKEN,
    TEXT,
    WRONG,
    body_of,
    fortunes_page,
    new_row,
    respond,
    row_count,
)

READ_ONE = f"SELECT {COLUMNS} FROM users WHERE id = ?"
READ_PAGE = f"SELECT {COLUMNS} FROM users WHERE id > ? ORDER BY id LIMIT ?"
INSERT = f"INSERT INTO users ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
READ_NUMBER = "SELECT random_number FROM world WHERE id = ?"
WRITE_NUMBER = "UPDATE world SET random_number = ? WHERE id = ?"
FORTUNES = "SELECT id, message FROM fortune"

connection = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
    connection.execute(f"PRAGMA {pragma}")


def record(row):
    values = dict(zip(NAMES, row))
    values["active"] = row[6] == 1
    return values


def read_one(path):
    row = connection.execute(READ_ONE, (path[7:],)).fetchone()
    return (200, orjson.dumps(record(row))) if row else (404, MISSING)


def read_page(query):
    parameters = parse_qs(query.decode())
    limit = int(parameters["limit"][0]) if "limit" in parameters else 20
    rows = connection.execute(
        READ_PAGE, (parameters["after"][0] if "after" in parameters else "", limit + 1)
    ).fetchall()
    more = rows[limit - 1][0] if len(rows) > limit else None
    return 200, orjson.dumps({"items": [record(row) for row in rows[:limit]], "next": more})


def create(body):
    row = new_row(body)
    if row is None:
        return 422, WRONG
    try:
        connection.execute(INSERT, row)
    except sqlite3.IntegrityError:
        return 409, TAKEN
    return 201, orjson.dumps(record(row))


def run_queries(query):
    worlds = []
    for _ in range(row_count(query)):
        id = randrange(1, 10_001)
        (number,) = connection.execute(READ_NUMBER, (id,)).fetchone()
        worlds.append({"id": id, "randomNumber": number})
    return 200, orjson.dumps(worlds)


def run_updates(query):
    worlds = []
    connection.execute("BEGIN IMMEDIATE")
    for id in sample(range(1, 10_001), row_count(query)):
        connection.execute(READ_NUMBER, (id,)).fetchone()
        number = randrange(1, 10_001)
        connection.execute(WRITE_NUMBER, (number, id))
        worlds.append({"id": id, "randomNumber": number})
    connection.execute("COMMIT")
    return 200, orjson.dumps(worlds)


def render_fortunes():
    return 200, fortunes_page(connection.execute(FORTUNES).fetchall())


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path, content_type = scope["path"], JSON
    if path == "/graphql":
        status, body = 200, graphql(connection, await body_of(receive))
    elif path == "/users":
        posted = scope["method"] == "POST"
        status, body = create(await body_of(receive)) if posted else read_page(scope["query_string"])
    elif path.startswith("/users/"):
        status, body = read_one(path)
    elif path == "/queries":
        status, body = run_queries(scope["query_string"])
    elif path == "/updates":
        status, body = run_updates(scope["query_string"])
    elif path == "/fortunes":
        (status, body), content_type = render_fortunes(), PAGE
    elif path == "/json":
        status, body = 200, orjson.dumps({"message": "Hello, World!"})
    elif path == "/plaintext":
        status, body, content_type = 200, b"Hello, World!", TEXT
    else:
        status, body = 404, MISSING
    await respond(send, status, body, content_type)
