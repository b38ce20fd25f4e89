"""Strict JSON, as RFC 8259 and RFC 7493 (I-JSON) ask of senders: no NaN, no lone surrogates, no repeated keys.

orjson parses; the value is then traversed once, up to the limits. Text that would cost too much to parse is refused
by counting bytes. The cost is linear in the text's length.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from schema.engine.errors import BadRequest, QueryTooComplex

MAX_DEPTH = 32
MAX_JSON_VALUES = 2500
_MAX_QUOTES = 4 * MAX_JSON_VALUES  # a value is at most one string and has at most one key
_WHITESPACE = b" \t\n\r"
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TOO_DEEP = f"the body must be nested at most {MAX_DEPTH} levels deep"
_TOO_MANY = f"the body must have at most {MAX_JSON_VALUES} values"


def parse_json(body: bytes) -> Any:
    """Parse a JSON text.

    Raises:
        BadRequest: it is not JSON, repeats a key in an object, or is nested more than `MAX_DEPTH` levels deep.
        QueryTooComplex: it has more than `MAX_JSON_VALUES` values; scalars, arrays and objects each count as one.
    """
    if len(body) > MAX_JSON_VALUES:
        _check_structure(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(_TOO_DEEP if "depth limit" in error.msg else f"the body is not JSON: {error}") from None
    keys, exact = _traverse(value)
    if exact and (not keys or _max_keys(body) == keys):
        return value
    try:
        return json.loads(body, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body has a number with too many digits") from error


def check_limits(body: bytes) -> None:
    """Raise `parse_json`'s errors for a text that another parser will read.

    A text of up to `MAX_JSON_VALUES` bytes is within the limits, because each value takes a byte.
    """
    if len(body) > MAX_JSON_VALUES:
        parse_json(body)


def check_unique_keys(body: bytes, keys: int) -> None:
    """Raise `BadRequest` if a flat object, of which `keys` different keys were read, repeats a key."""
    if body.count(b":") != keys:
        parse_json(body)


def _check_structure(body: bytes) -> None:
    """Refuse too many values or too deep nesting before parsing, which can take 50 bytes of memory per byte.

    For valid JSON these counts are exact: commas and brackets within strings are not counted.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") < MAX_JSON_VALUES:
        return
    pieces = body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"', _MAX_QUOTES)
    many = len(pieces) > _MAX_QUOTES
    structure = b"".join(pieces[:_MAX_QUOTES:2])
    depth = opened = 0
    for bracket in structure.translate(None, _ALL_BUT_BRACKETS)[: 2 * MAX_JSON_VALUES + 2]:
        if bracket in b"]}":
            depth -= 1
            continue
        depth, opened = depth + 1, opened + 1
        if depth > MAX_DEPTH:
            raise BadRequest(_TOO_DEEP)
    if many or opened > MAX_JSON_VALUES or structure.count(b",") >= MAX_JSON_VALUES:
        raise QueryTooComplex(_TOO_MANY)


def _traverse(value: Any) -> tuple[int, bool]:  # noqa: C901
    """Count the keys, and return whether no number can have lost digits: a float may have been a long integer.

    Traverses level by level, and stops at a limit.
    """
    kind = type(value)
    if kind is not dict and kind is not list:
        return 0, kind is not float
    keys, values, exact = 0, 1, True
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise BadRequest(_TOO_DEEP)
        below: list[Any] = []
        for container in level:
            values += len(container)
            if values > MAX_JSON_VALUES:
                raise QueryTooComplex(_TOO_MANY)
            members = container
            if type(container) is dict:
                keys += len(container)
                members = container.values()
            for member in members:
                kind = type(member)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    below.append(member)
                elif kind is float:
                    exact = False
        level = below
    return keys, exact


def _max_keys(body: bytes) -> int:
    """An upper bound for the keys in the text: each ends with a quotation mark and a colon, but strings may hold both.

    If as many were parsed, none was repeated.
    """
    return body.translate(None, _WHITESPACE).count(b'":')


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise BadRequest(f"the key {name[:64]!r} is repeated in an object")
        members[name] = value
    return members


def _refuse_constant(name: str) -> None:
    raise BadRequest(f"the body is not JSON: {name} is not a number")
