"""What does not depend on the database: rows as they are shown, what is new and valid, and HTTP's own."""

import re
from datetime import UTC, datetime
from html import escape

import orjson
from uuid_utils import uuid7

EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
COLUMNS = "id, first_name, last_name, age, email, external_id, active, created_at, updated_at, version"
NAMES = COLUMNS.split(", ")
HTML = (
    "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>"
    "<tr><th>id</th><th>message</th></tr>%s</table></body></html>"
)
JSON, TEXT, PAGE = b"application/json", b"text/plain; charset=utf-8", b"text/html; charset=utf-8"
MISSING, TAKEN, WRONG = (b'{"detail":"%b"}' % detail for detail in (b"Not Found", b"Conflict", b"Unprocessable"))


def made(body):
    """The row of a new user, or none where it is not valid."""
    given = orjson.loads(body)
    name, age, email = given["first_name"], given["age"], given.get("email")
    if not (isinstance(name, str) and 1 <= len(name) <= 100 and type(age) is int and 0 <= age <= 150):
        return None
    if email is not None and not EMAIL.fullmatch(email):
        return None
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    last, external, active = given.get("last_name"), given.get("external_id"), given.get("active", True)
    return str(uuid7()), name, last, age, email, external, active, moment, moment, 1


def wanted(query):
    text = query.partition(b"queries=")[2]
    return min(max(int(text), 1), 500) if text.isdigit() else 1


def fortunes_page(told):
    told.append((0, "Additional fortune added at request time."))
    told.sort(key=lambda it: it[1])
    rows = "".join([f"<tr><td>{id}</td><td>{escape(message)}</td></tr>" for id, message in told])
    return (HTML % rows).encode()


async def body_of(receive):
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def answer(send, status, body, kind):
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
