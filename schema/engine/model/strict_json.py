"""JSON as RFC 8259 and RFC 7493 (I-JSON) want it from those who send it: no NaN, no lone surrogates, no key twice.

orjson reads the text; the value is walked once, and the walk ends where there is too much of it. What would already
cost too much to parse is refused by counts of bytes. All of it is linear in what was sent.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from schema.engine.errors import BadRequest, QueryTooComplex

MAX_DEPTH = 32
MAX_VALUES = 2500
_MOST_QUOTES = 4 * MAX_VALUES  # a value is one string at most, and has one key at most
_SPACE = b" \t\n\r"
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TOO_DEEP = f"the body is nested more than {MAX_DEPTH} levels deep"
_TOO_MANY = f"the body may have {MAX_VALUES} values"


def parse_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        BadRequest: it is no JSON, has a key twice in one object, or is nested more than `MAX_DEPTH` levels deep.
        TooComplex: it has more than `MAX_VALUES` values; scalars, arrays and objects each count as one.
    """
    if len(body) > MAX_VALUES:
        _check_structure(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(_TOO_DEEP if "depth limit" in error.msg else f"the body is not JSON: {error}") from None
    keys, exact = _walk(value)
    if exact and (not keys or _keys_at_most(body) == keys):
        return value
    try:
        return json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON that can be read: a number has too many digits") from error


def check_limits(body: bytes) -> None:
    """Check that a text can be given to any parser: `strict`'s refusals for one that is large enough to hold too much.

    A shorter one has no more than `MAX_VALUES` values, for each takes a byte.
    """
    if len(body) > MAX_VALUES:
        parse_json(body)


def check_unique_keys(body: bytes, keys: int) -> None:
    """`BadRequest` where an object without nested ones, of which `keys` keys were accepted, has a key twice."""
    if body.count(b":") != keys:
        parse_json(body)


def _check_structure(body: bytes) -> None:
    """Refuse what has too many values, or is nested too deeply, before it is parsed: a byte can cost fifty in memory.

    Of a text that is JSON these counts are exact: no comma and no bracket within a string is counted.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") < MAX_VALUES:
        return
    pieces = body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"', _MOST_QUOTES)
    many = len(pieces) > _MOST_QUOTES
    structure = b"".join(pieces[:_MOST_QUOTES:2])
    depth = opened = 0
    for bracket in structure.translate(None, _ALL_BUT_BRACKETS)[: 2 * MAX_VALUES + 2]:
        if bracket in b"]}":
            depth -= 1
            continue
        depth, opened = depth + 1, opened + 1
        if depth > MAX_DEPTH:
            raise BadRequest(_TOO_DEEP)
    if many or opened > MAX_VALUES or structure.count(b",") >= MAX_VALUES:
        raise QueryTooComplex(_TOO_MANY)


def _walk(value: Any) -> tuple[int, bool]:  # noqa: C901
    """How many keys there are, and whether no number may have lost a digit: a float may have been a long integer.

    Goes level by level, and looks into nothing that would be beyond a limit.
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
            if values > MAX_VALUES:
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


def _keys_at_most(body: bytes) -> int:
    """How many keys were sent, or more: each ends with a quotation mark and a colon, which texts may hold, too.

    Where that comes to as many as were kept, none was lost.
    """
    return body.translate(None, _SPACE).count(b'":')


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequest(f"the key {name[:64]!r} stands twice in one object")
        found[name] = value
    return found


def _no_constant(name: str) -> None:
    raise BadRequest(f"the body is not JSON: {name} is no number")
