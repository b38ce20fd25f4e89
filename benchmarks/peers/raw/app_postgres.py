"""The upper bound on PostgreSQL: plain ASGI, hand-written SQL, an asyncpg pool, orjson."""

from __future__ import annotations

import os
from random import randrange, sample
from urllib.parse import parse_qs

import asyncpg
import orjson
from shared import COLUMNS, JSON, MISSING, PAGE, TAKEN, TEXT, WRONG, body_of, fortunes_page, new_row, respond, row_count

READ_ONE = f"SELECT {COLUMNS} FROM users WHERE id = $1"
READ_PAGE = f"SELECT {COLUMNS} FROM users WHERE id > $1 ORDER BY id LIMIT $2"
INSERT = f"INSERT INTO users ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING {COLUMNS}"
READ_NUMBER = 'SELECT id, random_number AS "randomNumber" FROM world WHERE id = $1'
WRITE_NUMBER = "UPDATE world SET random_number = $1 WHERE id = $2"
FORTUNES = "SELECT id, message FROM fortune"
SHOWN = 'id, first_name AS "firstName", last_name AS "lastName", age, email'
GRAPH_ONE = f"SELECT {SHOWN} FROM users WHERE id = $1"
GRAPH_PAGE = f"SELECT {SHOWN} FROM users WHERE id > $1 ORDER BY id LIMIT $2"
GROUPS = (
    "SELECT m.user_id, g.id, g.name FROM memberships m JOIN groups g ON g.id = m.group_id "
    "WHERE m.user_id = ANY($1) ORDER BY m.user_id, m.group_id"
)
CONNECTIONS = 16


async def nothing(connection):
    """Sessions are never changed, so they need no reset, which saves a round trip."""


async def read_one(path):
    row = await pool.fetchrow(READ_ONE, path[7:])
    return (200, orjson.dumps(dict(row))) if row else (404, MISSING)


async def read_page(query):
    parameters = parse_qs(query.decode())
    limit = int(parameters["limit"][0]) if "limit" in parameters else 20
    rows = await pool.fetch(READ_PAGE, parameters["after"][0] if "after" in parameters else "", limit + 1)
    more = rows[limit - 1]["id"] if len(rows) > limit else None
    return 200, orjson.dumps({"items": [dict(row) for row in rows[:limit]], "next": more})


async def create(body):
    row = new_row(body)
    if row is None:
        return 422, WRONG
    try:
        return 201, orjson.dumps(dict(await pool.fetchrow(INSERT, *row)))
    except asyncpg.UniqueViolationError:
        return 409, TAKEN


async def run_queries(query):
    async with pool.acquire() as connection:
        rows = [await connection.fetchrow(READ_NUMBER, randrange(1, 10_001)) for _ in range(row_count(query))]
    return 200, orjson.dumps([dict(row) for row in rows])


async def run_updates(query):
    places = sorted(sample(range(1, 10_001), row_count(query)))
    async with pool.acquire() as connection, connection.transaction():
        for id in places:
            await connection.fetchrow(READ_NUMBER, id)
        new = [(randrange(1, 10_001), id) for id in places]
        await connection.executemany(WRITE_NUMBER, new)
    return 200, orjson.dumps([{"id": id, "randomNumber": number} for number, id in new])


async def graphql(body):
    """Answers three GraphQL documents without parsing them."""
    request = orjson.loads(body)
    name, variables = request["operationName"], request["variables"]
    if name == "One":
        row = await pool.fetchrow(GRAPH_ONE, variables["id"])
        return 200, orjson.dumps({"data": {"user": dict(row) if row else None}})
    async with pool.acquire() as connection:
        rows = await connection.fetch(GRAPH_PAGE, variables["after"], 51)
        nodes = [dict(row) for row in rows[:50]]
        if name == "Nested":
            groups = {node["id"]: [] for node in nodes}
            for user, id, label in await connection.fetch(GROUPS, list(groups)):
                groups[user].append({"id": id, "name": label})
            for node in nodes:
                node["groups"] = groups[node["id"]][:10]
    info = {"hasNextPage": len(rows) > 50, "endCursor": nodes[-1]["id"] if nodes else None}
    return 200, orjson.dumps({"data": {"users": {"nodes": nodes, "pageInfo": info}}})


async def live(receive, send):
    global pool
    await receive()
    options = {"min_size": CONNECTIONS, "max_size": CONNECTIONS, "reset": nothing, "server_settings": {"jit": "off"}}
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], **options)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await pool.close()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    path, content_type = scope["path"], JSON
    if path == "/graphql":
        status, body = await graphql(await body_of(receive))
    elif path == "/users":
        posted = scope["method"] == "POST"
        status, body = await (create(await body_of(receive)) if posted else read_page(scope["query_string"]))
    elif path.startswith("/users/"):
        status, body = await read_one(path)
    elif path == "/queries":
        status, body = await run_queries(scope["query_string"])
    elif path == "/updates":
        status, body = await run_updates(scope["query_string"])
    elif path == "/fortunes":
        fortunes = [tuple(row) for row in await pool.fetch(FORTUNES)]
        status, body, content_type = 200, fortunes_page(fortunes), PAGE
    elif path == "/json":
        status, body = 200, orjson.dumps({"message": "Hello, World!"})
    elif path == "/plaintext":
        status, body, content_type = 200, b"Hello, World!", TEXT
    else:
        status, body = 404, MISSING
    await respond(send, status, body, content_type)
