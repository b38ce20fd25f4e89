"""JSON as RFC 8259 and RFC 7493 (I-JSON) want it from those who send it: no NaN, no lone surrogates, no key twice.

Validators read bytes faster than any check could, so what they have accepted is looked at only where a quick count says
that it might not be in order; `strict` reads the rest, and names what is wrong.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from schema.engine.errors import BadRequest, TooComplex

DEEPEST = 32
MOST_VALUES = 2500
_SPACE = b" \t\n\r"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def strict(body: bytes) -> Any:
    """What the body holds; `BadRequest` with the reason where it is no JSON that we take."""
    shallow(body)
    try:
        found = orjson.loads(body)
        if _plain(body, found):
            return found
        return json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON that can be read: a number has too many digits") from error


def shallow(body: bytes) -> None:
    """`BadRequest` where arrays and objects are nested too deeply."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    depth = 0
    for char in _STRING.sub(b"", body):
        if char in b"[{":
            depth += 1
            if depth > DEEPEST:
                raise BadRequest(f"the body is nested more than {DEEPEST} levels deep")
        elif char in b"]}":
            depth -= 1


def few(body: bytes) -> None:
    """`TooComplex` where there are more values than anybody needs: each costs much more to understand than to send."""
    if body.count(b",") > MOST_VALUES and _STRING.sub(b"", body).count(b",") > MOST_VALUES:
        raise TooComplex(f"the body may have {MOST_VALUES} values")


def unrepeated(body: bytes, found: int) -> None:
    """`BadRequest` where an object without nested ones, of which `found` keys were accepted, has a key twice."""
    if body.count(b":") != found:
        strict(body)


def _plain(body: bytes, found: Any) -> bool:
    """Whether a quick look is enough to see that no key stands twice, and that no number lost a digit.

    Each key ends with a quotation mark and a colon. Texts may hold these, too, so what is counted may be too many, but
    never too few: if it comes to as many as there are keys, none was lost.
    """
    keys = _keys(found)
    return keys is not None and keys == body.translate(None, _SPACE).count(b'":')


def _keys(found: Any) -> int | None:
    """How many keys there are in all of its objects; None where there are numbers that may have been rounded."""
    kind = type(found)
    if kind is not dict and kind is not list:
        return None if kind is float else 0
    members, count = (found.values(), len(found)) if kind is dict else (found, 0)
    for member in members:
        if type(member) is not str:
            below = _keys(member)
            if below is None:
                return None
            count += below
    return count


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"the key {twice[:64]!r} stands twice in one object")
    return made


def _no_constant(name: str) -> None:
    raise BadRequest(f"the body is not JSON: {name} is no number")
