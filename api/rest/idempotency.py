"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that is to be done once, however often sent.

The draft has the key in quotes, as a structured field; many clients send it bare, which is the same key.
"""

from __future__ import annotations

import re

from api.rest.endpoint import EndpointRequest, Parameter, Schema
from schema.engine.errors import DirectoryError, IdempotencyInProgress, IdempotencyMismatch
from schema.engine.operations.directory import UnitOfWork
from schema.engine.operations.idempotency import LONGEST_KEY, idempotency_key

REPEATED: tuple[type[DirectoryError], ...] = (IdempotencyInProgress, IdempotencyMismatch)
_QUOTED, _BARE = r'"(?:[!#-\[\]-~]|\\["\\]){1,255}"', r"[!#-+\-.-:<-\[\]-~]{1,255}"
_SENT = re.compile(f"{_QUOTED}|{_BARE}")


def _key(text: str) -> str:
    if not _SENT.fullmatch(text):
        raise ValueError(f'it has to be 1 to {LONGEST_KEY} visible characters, in quotes: "8e03978e-40d5-43dd-bc93"')
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] == '"' else text


_SCHEMA: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 2 * LONGEST_KEY + 2,
    "pattern": f"^(?:{_QUOTED}|{_BARE})$",
}
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    _SCHEMA,
    _key,
    "Any text that is new for each request, such as a UUID. Sent again with the same key within 24 hours, the request "
    "is not done again: its first answer comes.",
    example='"8e03978e-40d5-43dd-bc93-6894a57f9324"',
)


def repeatable(call: EndpointRequest, versions: frozenset[int] | None = None) -> UnitOfWork:
    """A transaction of the actor's own; one that is done once, if the request has a key.

    `versions`: those that `If-Match` allows, where the endpoint honours it.
    """
    sent = call.headers.get("idempotency-key")
    if sent is None:
        return call.unit_of_work
    allowed = None if versions is None else sorted(versions)
    return call.directory.unit_of_work(
        call.actor, idempotency_key(_key(sent), "POST", call.url, call.query, allowed, call.body)
    )
