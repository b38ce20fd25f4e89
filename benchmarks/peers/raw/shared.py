"""What both databases share: columns, new rows and their validation, HTTP responses."""

from __future__ import annotations

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


def new_row(body):
    """The row of a new user, or None if it is invalid."""
    values = orjson.loads(body)
    name, age, email = values["first_name"], values["age"], values.get("email")
    if not (isinstance(name, str) and 1 <= len(name) <= 100 and type(age) is int and 0 <= age <= 150):
        return None
    if email is not None and not EMAIL.fullmatch(email):
        return None
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    last, external, active = values.get("last_name"), values.get("external_id"), values.get("active", True)
    return str(uuid7()), name, last, age, email, external, active, moment, moment, 1


def row_count(query):
    text = query.partition(b"queries=")[2]
    return min(max(int(text), 1), 500) if text.isdigit() else 1


def fortunes_page(fortunes):
    fortunes.append((0, "Additional fortune added at request time."))
    fortunes.sort(key=lambda fortune: fortune[1])
    rows = "".join([f"<tr><td>{id}</td><td>{escape(message)}</td></tr>" for id, message in fortunes])
    return (HTML % rows).encode()


async def body_of(receive):
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def respond(send, status, body, content_type):
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
