"""Keyset cursors: the sort keys of a row, signed for its list, opaque to clients.

A cursor is base64url (RFC 4648) over the row's sort keys as a JSON array, followed by a keyed BLAKE2b (RFC 7693) over
the list (its model, relation, order, and filters with their values) and these keys. A cursor that was altered, forged
or issued by another list does not verify.
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
from schema.engine.model.field import NULL_INTEGER_SORT_KEY, TIME_PATTERN, ResourceField
from schema.engine.model.resource import Resource
from schema.engine.query.filters import READABLE, UUID
from schema.engine.query.selection import Compare, Condition, Junction, Order
from schema.engine.sql.statement import Values

MAX_LENGTH = 2048
DIGEST_SIZE = 8
# A code point has at most two in lower case (`İ`).
LOWER_CASE_FACTOR = 2
_PURPOSE = b"tandem cursors"
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_TIME = re.compile(TIME_PATTERN, re.ASCII)
ListHash = blake2b


class Signer:
    """Signs cursors with a secret.

    Without a secret (`NO_SIGNER`), it raises `DatabaseUnavailable` when a signature is needed.
    """

    __slots__ = ("_keyed", "_unfiltered")

    def __init__(self, secret: bytes | None) -> None:
        self._keyed = blake2b(digest_size=DIGEST_SIZE, key=secret, person=_PURPOSE) if secret else None
        self._unfiltered: dict[tuple[str, str | None, Order], ListHash] = {}

    def list_hash(
        self, model: str, relation: str | None, order: Order, where: Condition | None, values: Values
    ) -> ListHash:
        """The keyed hash of a list, which a cursor's keys continue."""
        unfiltered = self._unfiltered.get((model, relation, order)) or self._hash(model, relation, order)
        if where is None:
            return unfiltered
        filtered = unfiltered.copy()
        # Neither names nor quoted values nor JSON contain NUL, so two different lists never hash the same bytes.
        filtered.update(b"%b\0" % _canonical(where, values).encode())
        return filtered

    def _hash(self, model: str, relation: str | None, order: Order) -> ListHash:
        if self._keyed is None:
            raise DatabaseUnavailable("the key that signs cursors has not been read from the database yet")
        hash = self._unfiltered[model, relation, order] = self._keyed.copy()
        hash.update(f"{model}.{relation}{order.fields}{order.descending}{order.folded}\0".encode())
        return hash


NO_SIGNER = Signer(None)


def encode_cursor(keys: bytes, list_hash: ListHash) -> bytes:
    """The cursor of a row; `keys` is a JSON array as the database built it, or the id where that is the only key."""
    if not keys.startswith(b"["):
        keys = b'["%b"]' % keys
    return _base64url(keys + _signature(keys, list_hash))


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
    """The keys in a cursor, as the values that a page's `after` or `before` of this name binds.

    Raises:
        BadRequest: this list did not issue the cursor.
    """
    fields = [resource.fields[field] for field in order.fields if field != "id"]
    list_hash = signer.list_hash(resource.name, relation, order, where, values)
    keys = decode_cursor(cursor, list_hash, [*fields, resource.fields["id"]], folded=order.folded)
    return {f"{name}_{number}": key for number, key in enumerate(keys)}


def decode_cursor(
    cursor: str, list_hash: ListHash, fields: Sequence[ResourceField], *, folded: bool = False
) -> list[Any]:
    """The keys in a cursor, one for each of `fields`; `folded`: texts are in lower case.

    Raises:
        BadRequest: this list did not issue the cursor.
    """
    try:
        raw = cursor.encode("ascii").translate(_FROM_URL)
        signed = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _not_issued(cursor) from error
    encoded_keys, signature = signed[:-DIGEST_SIZE], signed[-DIGEST_SIZE:]
    if not compare_digest(_signature(encoded_keys, list_hash), signature) or _base64url(signed) != cursor.encode():
        raise _not_issued(cursor)
    try:
        keys = orjson.loads(encoded_keys)
    except ValueError as error:
        raise _not_issued(cursor) from error
    if not isinstance(keys, list) or len(keys) != len(fields):
        raise _not_issued(cursor)
    if not all(_is_key(key, field, folded) for key, field in zip(keys, fields, strict=True)):
        raise _not_issued(cursor)
    return [bool(key) if field.kind == "boolean" else key for key, field in zip(keys, fields, strict=True)]


def _signature(keys: bytes, list_hash: ListHash) -> bytes:
    hash = list_hash.copy()
    hash.update(keys)
    return hash.digest()


def _base64url(signed: bytes) -> bytes:
    return binascii.b2a_base64(signed, newline=False).translate(_TO_URL).rstrip(b"=")


def _is_key(key: object, field: ResourceField, folded: bool) -> bool:
    """Whether the sort column of the field can hold this value."""
    if field.kind == "boolean":
        return key in (0, 1) and type(key) in (bool, int)
    if field.kind == "integer":
        return type(key) is int and (_is_within(key, field) or (field.nullable and key == NULL_INTEGER_SORT_KEY))
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
    longest = (field.max_length or 0) * (LOWER_CASE_FACTOR if folded else 1)
    return len(key) <= longest and READABLE.fullmatch(key) is not None


def _is_within(key: int, field: ResourceField) -> bool:
    assert field.minimum is not None
    assert field.maximum is not None
    return field.minimum <= key <= field.maximum


def _canonical(where: Condition, values: Values) -> str:
    """A filter with its values as text, independent of the order of its parts."""
    if isinstance(where, Compare):
        return f"{where.field} {where.operator} {values.get(where.value)!r}"
    if not isinstance(where, Junction):
        return f"q {values.get(where.value)!r}"
    return f"{where.operator}({', '.join(sorted(_canonical(part, values) for part in where.parts))})"


def _not_issued(cursor: str) -> BadRequest:
    return BadRequest(f"the cursor {cursor[:40]!r} was not issued by this list with this sort and these filters")
