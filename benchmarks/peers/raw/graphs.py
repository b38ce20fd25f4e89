"""GraphQL without parsing: three known documents, as a server would run them at best."""

from __future__ import annotations

import orjson

ONE = "SELECT id, first_name, last_name, age, email FROM users WHERE id = ?"
PAGE = "SELECT id, first_name, last_name, age, email FROM users WHERE id > ? ORDER BY id LIMIT ?"
GROUPS = (
    "SELECT m.user_id, g.id, g.name FROM memberships m JOIN groups g ON g.id = m.group_id "
    "WHERE m.user_id IN (SELECT value FROM json_each(?)) ORDER BY m.user_id, m.group_id"
)
NAMES = ("id", "firstName", "lastName", "age", "email")


def graphql(connection, body):
    request = orjson.loads(body)
    data = KNOWN[request["operationName"]](connection, request["variables"])
    return orjson.dumps({"data": data})


def one(connection, variables):
    row = connection.execute(ONE, (variables["id"],)).fetchone()
    return {"user": dict(zip(NAMES, row)) if row else None}


def page(connection, variables):
    rows = connection.execute(PAGE, (variables["after"], 51)).fetchall()
    nodes = [dict(zip(NAMES, row)) for row in rows[:50]]
    info = {"hasNextPage": len(rows) > 50, "endCursor": nodes[-1]["id"] if nodes else None}
    return {"users": {"nodes": nodes, "pageInfo": info}}


def nested(connection, variables):
    result = page(connection, variables)
    groups = {node["id"]: [] for node in result["users"]["nodes"]}
    for user, id, name in connection.execute(GROUPS, (orjson.dumps(list(groups)).decode(),)):
        groups[user].append({"id": id, "name": name})
    for node in result["users"]["nodes"]:
        node["groups"] = groups[node["id"]][:10]
    return result


KNOWN = {"One": one, "Page": page, "Nested": nested}
