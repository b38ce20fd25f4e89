"""JSON as RFC 8259 and RFC 7493 (I-JSON) want it from those who send it: no NaN, no lone surrogates, no key twice.

Validators read bytes faster than any check could, so what they have accepted is looked at only where a quick count says
that it might not be in order; `strict` reads the rest, and names what is wrong.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from schema.engine.errors import BadRequest

DEEPEST = 32
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def strict(body: bytes) -> Any:
    """What the body holds; `BadRequest` with the reason where it is no JSON that we take."""
    shallow(body)
    try:
        orjson.loads(body)
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


def unrepeated(body: bytes, found: int) -> None:
    """`BadRequest` where an object without nested ones, of which `found` keys were accepted, has a key twice."""
    if body.count(b":") != found:
        strict(body)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"the key {twice[:64]!r} stands twice in one object")
    return made


def _no_constant(name: str) -> None:
    raise BadRequest(f"the body is not JSON: {name} is no number")
