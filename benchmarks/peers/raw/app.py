"""The limit: bare ASGI, SQL written by hand, orjson. No framework, no rules, no documents, hardly an error."""

import os
import re
import sqlite3
from datetime import UTC, datetime
from html import escape
from random import randrange, sample
from urllib.parse import parse_qs

import orjson
from graphs import answered
from uuid_utils import uuid7

EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
COLUMNS = "id, first_name, last_name, age, email, external_id, active, created_at, updated_at, version"
NAMES = COLUMNS.split(", ")
READ_ONE = f"SELECT {COLUMNS} FROM users WHERE id = ?"
READ_PAGE = f"SELECT {COLUMNS} FROM users WHERE id > ? ORDER BY id LIMIT ?"
INSERT = f"INSERT INTO users ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
READ_NUMBER = "SELECT random_number FROM world WHERE id = ?"
WRITE_NUMBER = "UPDATE world SET random_number = ? WHERE id = ?"
FORTUNES = "SELECT id, message FROM fortune"
HTML = (
    "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>"
    "<tr><th>id</th><th>message</th></tr>%s</table></body></html>"
)
JSON, TEXT, PAGE = b"application/json", b"text/plain; charset=utf-8", b"text/html; charset=utf-8"

connection = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
    connection.execute(f"PRAGMA {pragma}")


def record(row):
    found = dict(zip(NAMES, row))
    found["active"] = row[6] == 1
    return found


def read_one(path):
    row = connection.execute(READ_ONE, (path[7:],)).fetchone()
    return (200, orjson.dumps(record(row))) if row else (404, b'{"detail":"Not Found"}')


def read_page(query):
    asked = parse_qs(query.decode())
    limit = int(asked["limit"][0]) if "limit" in asked else 20
    rows = connection.execute(READ_PAGE, (asked["after"][0] if "after" in asked else "", limit + 1)).fetchall()
    more = rows[limit - 1][0] if len(rows) > limit else None
    return 200, orjson.dumps({"items": [record(row) for row in rows[:limit]], "next": more})


def create(body):
    given = orjson.loads(body)
    name, age, email = given["first_name"], given["age"], given.get("email")
    if not (isinstance(name, str) and 1 <= len(name) <= 100 and type(age) is int and 0 <= age <= 150):
        return 422, b'{"detail":"Unprocessable"}'
    if email is not None and not EMAIL.fullmatch(email):
        return 422, b'{"detail":"Unprocessable"}'
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    last, external, active = given.get("last_name"), given.get("external_id"), given.get("active", True)
    row = (str(uuid7()), name, last, age, email, external, active, moment, moment, 1)
    try:
        connection.execute(INSERT, row)
    except sqlite3.IntegrityError:
        return 409, b'{"detail":"Conflict"}'
    return 201, orjson.dumps(record(row))


def wanted(query):
    text = query.partition(b"queries=")[2]
    return min(max(int(text), 1), 500) if text.isdigit() else 1


def run_queries(query):
    worlds = []
    for _ in range(wanted(query)):
        id = randrange(1, 10_001)
        (number,) = connection.execute(READ_NUMBER, (id,)).fetchone()
        worlds.append({"id": id, "randomNumber": number})
    return 200, orjson.dumps(worlds)


def run_updates(query):
    worlds = []
    connection.execute("BEGIN IMMEDIATE")
    for id in sample(range(1, 10_001), wanted(query)):
        connection.execute(READ_NUMBER, (id,)).fetchone()
        number = randrange(1, 10_001)
        connection.execute(WRITE_NUMBER, (number, id))
        worlds.append({"id": id, "randomNumber": number})
    connection.execute("COMMIT")
    return 200, orjson.dumps(worlds)


def tell_fortunes():
    told = connection.execute(FORTUNES).fetchall()
    told.append((0, "Additional fortune added at request time."))
    told.sort(key=lambda it: it[1])
    rows = "".join([f"<tr><td>{id}</td><td>{escape(message)}</td></tr>" for id, message in told])
    return 200, (HTML % rows).encode()


async def body_of(receive):
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path, kind = scope["path"], JSON
    if path == "/graphql":
        status, body = 200, answered(connection, await body_of(receive))
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
        (status, body), kind = tell_fortunes(), PAGE
    elif path == "/json":
        status, body = 200, orjson.dumps({"message": "Hello, World!"})
    elif path == "/plaintext":
        status, body, kind = 200, b"Hello, World!", TEXT
    else:
        status, body = 404, b'{"detail":"Not Found"}'
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
