"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request is executed once, however often it is sent.

The draft has the key in quotes, as a structured field; many clients send it bare. Both are the same key.
"""

from __future__ import annotations

import re

from api.rest.endpoint import EndpointRequest
from api.rest.parameters import Parameter
from schema.engine.errors import DirectoryError, IdempotencyInProgress, IdempotencyMismatch
from schema.engine.operations.idempotency import MAX_KEY_LENGTH, IdempotencyKey
from schema.engine.operations.unit_of_work import UnitOfWork

IDEMPOTENCY_ERRORS: tuple[type[DirectoryError], ...] = (IdempotencyInProgress, IdempotencyMismatch)
_QUOTED, _BARE = r'"(?:[!#-\[\]-~]|\\["\\]){1,255}"', r"[!#-+\-.-:<-\[\]-~]{1,255}"
_HEADER = re.compile(f"{_QUOTED}|{_BARE}")


def _key(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError(f'must have 1 to {MAX_KEY_LENGTH} visible characters in quotes: "8e03978e-40d5-43dd-bc93"')
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] == '"' else text


IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    location="header",
    schema={
        "type": "string",
        "minLength": 1,
        "maxLength": 2 * MAX_KEY_LENGTH + 2,
        "pattern": f"^(?:{_QUOTED}|{_BARE})$",
    },
    read=_key,
    description="A text that is unique to this request, such as a UUID. A request that is sent again with the same key "
    "within 24 hours is not executed again: it returns the first response.",
    example='"8e03978e-40d5-43dd-bc93-6894a57f9324"',
)


def idempotent_unit_of_work(request: EndpointRequest, versions: frozenset[int] | None = None) -> UnitOfWork:
    """Return a transaction of the actor, which is executed once if the request has a key.

    `versions` are those that `If-Match` allows, where the endpoint supports it.
    """
    header = request.headers.get("idempotency-key")
    if header is None:
        return request.unit_of_work
    allowed = None if versions is None else sorted(versions)
    key = IdempotencyKey.of(_key(header), "POST", request.url_path, request.query, allowed, request.body)
    return request.directory.unit_of_work(request.actor, key)
