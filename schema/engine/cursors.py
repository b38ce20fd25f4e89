"""Keyset cursors: a row's place in one list, opaque to the caller.

A cursor is base64url (RFC 4648) over the row's sort keys as a JSON array, then a CRC-32 of these keys and of the list
they belong to: its model, relation, order and filters. One that was altered, or that another list gave, does not add
up.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from functools import cache
from typing import Any
from zlib import crc32

import orjson

from schema.engine.errors import BadRequest
from schema.engine.field import FieldShape
from schema.engine.selection import Compare, Condition, Junction, Order, Values
from schema.engine.shape import Shape

MAX_LENGTH = 2048
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


def seal(model: str, relation: str | None, order: Order, where: Condition | None, values: Values) -> int:
    """What ties a cursor to its list."""
    unfiltered = _unfiltered(model, relation, order)
    return crc32(_spelled(where, values).encode(), unfiltered) if where else unfiltered


def make(keys: bytes, seal: int) -> bytes:
    """The cursor of a row: `keys` is a JSON array, as the database wrote it, or the id where there is nothing else."""
    if not keys.startswith(b"["):
        keys = b'["%b"]' % keys
    sealed = keys + crc32(keys, seal).to_bytes(4, "big")
    return binascii.b2a_base64(sealed, newline=False).translate(_TO_URL).rstrip(b"=")


def keys_of(
    cursor: str, name: str, made: Shape, relation: str | None, order: Order, where: Condition | None, values: Values
) -> dict[str, Any]:
    """The keys in a cursor of a list, as the values that a page's `after` or `before` of that name stands for."""
    fields = [made.fields[field] for field in order.fields if field != "id"]
    keys = read(cursor, seal(made.name, relation, order, where, values), [*fields, made.fields["id"]])
    return {f"{name}_{number}": key for number, key in enumerate(keys)}


def read(cursor: str, seal: int, fields: Sequence[FieldShape]) -> list[Any]:
    """The keys that a cursor holds, one for each of `fields`; `BadRequest` for one that this list never gave."""
    try:
        raw = cursor.encode("ascii").translate(_FROM_URL)
        sealed = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _foreign(cursor) from error
    keys, check = sealed[:-4], sealed[-4:]
    if crc32(keys, seal).to_bytes(4, "big") != check or make(keys, seal) != cursor.encode():
        raise _foreign(cursor)
    try:
        found = orjson.loads(keys)
    except ValueError as error:
        raise _foreign(cursor) from error
    wanted = [int if field.kind == "integer" else str for field in fields]
    if not isinstance(found, list) or [type(key) for key in found] != wanted:
        raise _foreign(cursor)
    return found


@cache
def _unfiltered(model: str, relation: str | None, order: Order) -> int:
    return crc32(f"{model}.{relation}{order.fields}{order.descending}{order.folded}".encode())


def _spelled(condition: Condition, values: Values) -> str:
    """A condition with its values, the same however its parts were ordered."""
    if isinstance(condition, Compare):
        return f"{condition.field} {condition.operator} {values.get(condition.value)!r}"
    if not isinstance(condition, Junction):
        return f"q {values.get(condition.value)!r}"
    return f"{condition.word}({', '.join(sorted(_spelled(part, values) for part in condition.parts))})"


def _foreign(cursor: str) -> BadRequest:
    return BadRequest(f"the cursor {cursor[:40]!r} was not given by this list with this order and these filters")
