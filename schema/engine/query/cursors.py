"""Keyset cursors: a row's place in one list, opaque to the caller.

A cursor is base64url (RFC 4648) over the row's sort keys as a JSON array, followed by a keyed BLAKE2b (RFC 7693) of the
list that they belong to (its model, relation, order, and filters with their values) and of these keys. One that was
altered, forged, or given by another list does not verify.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any

import orjson

from schema.engine.errors import BadRequest, DatabaseUnavailable
from schema.engine.model.field import NO_INTEGER, TIME, ResourceField
from schema.engine.model.resource import Resource
from schema.engine.query.filters import READABLE, UUID
from schema.engine.query.selection import Compare, Condition, Junction, Order
from schema.engine.sql.statement import Values

MAX_LENGTH = 2048
DIGEST_SIZE = 8
# Of one code point that is made lower case, there are two at most (`İ`).
LONGEST_LOWER = 2
_PURPOSE = b"tandem cursors"
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_TIME = re.compile(TIME, re.ASCII)
ListHash = blake2b


class Signer:
    """Signs cursors with a secret; without one, `DatabaseUnavailable` to whoever needs a signature."""

    __slots__ = ("_begun", "_lists")

    def __init__(self, secret: bytes | None) -> None:
        self._begun = blake2b(digest_size=DIGEST_SIZE, key=secret, person=_PURPOSE) if secret else None
        self._lists: dict[tuple[str, str | None, Order], ListHash] = {}

    def list_hash(
        self, model: str, relation: str | None, order: Order, where: Condition | None, values: Values
    ) -> ListHash:
        """What ties a cursor to its list: the hash of the list, which the keys of each row continue."""
        unfiltered = self._lists.get((model, relation, order)) or self._unfiltered(model, relation, order)
        if where is None:
            return unfiltered
        seal = unfiltered.copy()
        # No name, no quoted value and no JSON holds a NUL, so nothing can pass for something else.
        seal.update(b"%b\0" % _spelled(where, values).encode())
        return seal

    def _unfiltered(self, model: str, relation: str | None, order: Order) -> ListHash:
        if self._begun is None:
            raise DatabaseUnavailable("the key that signs cursors could not be read from the database yet")
        seal = self._lists[model, relation, order] = self._begun.copy()
        seal.update(f"{model}.{relation}{order.fields}{order.descending}{order.folded}\0".encode())
        return seal


NO_SIGNER = Signer(None)


def encode_cursor(keys: bytes, seal: ListHash) -> bytes:
    """The cursor of a row: `keys` is a JSON array, as the database wrote it, or the id where there is nothing else."""
    if not keys.startswith(b"["):
        keys = b'["%b"]' % keys
    return _encoded(keys + _signature(keys, seal))


def cursor_values(
    cursor: str,
    name: str,
    resource: Resource,
    relation: str | None,
    order: Order,
    where: Condition | None,
    values: Values,
    signer: Signer,
) -> dict[str, Any]:
    """The keys in a cursor of a list, as the values that a page's `after` or `before` of that name stands for."""
    fields = [resource.fields[field] for field in order.fields if field != "id"]
    seal = signer.list_hash(resource.name, relation, order, where, values)
    keys = decode_cursor(cursor, seal, [*fields, resource.fields["id"]], folded=order.folded)
    return {f"{name}_{number}": key for number, key in enumerate(keys)}


def decode_cursor(cursor: str, seal: ListHash, fields: Sequence[ResourceField], *, folded: bool = False) -> list[Any]:
    """The keys that a cursor holds, one for each of `fields`; `BadRequest` for one that this list never gave.

    `folded`: texts are in lower case.
    """
    try:
        raw = cursor.encode("ascii").translate(_FROM_URL)
        sealed = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _foreign(cursor) from error
    keys, signature = sealed[:-DIGEST_SIZE], sealed[-DIGEST_SIZE:]
    if not compare_digest(_signature(keys, seal), signature) or _encoded(sealed) != cursor.encode():
        raise _foreign(cursor)
    try:
        found = orjson.loads(keys)
    except ValueError as error:
        raise _foreign(cursor) from error
    if not isinstance(found, list) or len(found) != len(fields):
        raise _foreign(cursor)
    if not all(_is_key(key, field, folded) for key, field in zip(found, fields, strict=True)):
        raise _foreign(cursor)
    return [bool(key) if field.kind == "boolean" else key for key, field in zip(found, fields, strict=True)]


def _signature(keys: bytes, seal: ListHash) -> bytes:
    signing = seal.copy()
    signing.update(keys)
    return signing.digest()


def _encoded(sealed: bytes) -> bytes:
    return binascii.b2a_base64(sealed, newline=False).translate(_TO_URL).rstrip(b"=")


def _is_key(key: object, field: ResourceField, folded: bool) -> bool:
    """Whether a list that is sorted by the field could have given this key: its column holds no other values."""
    if field.kind == "boolean":
        return key in (0, 1) and type(key) in (bool, int)
    if field.kind == "integer":
        return type(key) is int and (_is_within(key, field) or (field.nullable and key == NO_INTEGER))
    if not isinstance(key, str):
        return False
    if key == "":
        return field.nullable and field.sort_column != field.name
    match field.kind:
        case "id":
            return UUID.fullmatch(key) is not None
        case "enum":
            return any(key == str(choice.value) for choice in field.choices)
        case "time":
            return _TIME.fullmatch(key) is not None
    longest = (field.max_length or 0) * (LONGEST_LOWER if folded else 1)
    return len(key) <= longest and READABLE.fullmatch(key) is not None


def _is_within(key: int, field: ResourceField) -> bool:
    assert field.minimum is not None
    assert field.maximum is not None
    return field.minimum <= key <= field.maximum


def _spelled(condition: Condition, values: Values) -> str:
    """A condition with its values, the same however its parts were ordered."""
    if isinstance(condition, Compare):
        return f"{condition.field} {condition.operator} {values.get(condition.value)!r}"
    if not isinstance(condition, Junction):
        return f"q {values.get(condition.value)!r}"
    return f"{condition.word}({', '.join(sorted(_spelled(part, values) for part in condition.parts))})"


def _foreign(cursor: str) -> BadRequest:
    return BadRequest(f"the cursor {cursor[:40]!r} was not given by this list with this order and these filters")
