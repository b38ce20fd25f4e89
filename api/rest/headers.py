"""Conditional requests (RFC 9110, 13) and links (RFC 8288): what the headers say, and how they are described."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from api.rest.endpoint import Call, Parameter
from schema.engine.operations import Found, FoundPage

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_VERSION = re.compile(r"([1-9][0-9]{0,9})(?:-public)?", re.ASCII)

IF_MATCH = Parameter(
    "If-Match",
    "header",
    {"type": "string", "minLength": 1, "maxLength": 1000},
    str,
    "Only if the record still has the version that this entity tag names; else 412.",
    example='"1"',
)
IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "header",
    {"type": "string", "minLength": 1, "maxLength": 1000},
    str,
    "The entity tag of what the caller already has; 304 if it is still the same.",
    example='"1"',
)


def etag(found: Found) -> str:
    """The entity tag of a record as one kind of actor sees it: with all fields, or with the public ones."""
    return f'"{found.version}"' if found.whole else f'"{found.version}-public"'


def is_fresh(call: Call, tag: str) -> bool:
    """Whether `If-None-Match` says that the caller has this already."""
    sent = call.headers.get("if-none-match")
    return sent is not None and (sent.strip() == "*" or tag.strip('"') in _TAG.findall(sent))


def expected_versions(headers: Mapping[str, str]) -> frozenset[int] | None:
    """The versions that `If-Match` allows; None if any will do. Which view of the record was seen does not matter."""
    sent = headers.get("if-match")
    if sent is None or sent.strip() == "*":
        return None
    found = (_VERSION.fullmatch(tag) for tag in _TAG.findall(sent))
    return frozenset(int(version[1]) for version in found if version)


def link_header(call: Call, page: FoundPage) -> tuple[tuple[bytes, bytes], ...]:
    """`Link` with the next and the previous page, as far as there are any."""
    kept = {name: value for name, value in call.sent.items() if name not in ("after", "before")}
    found = (("next", "after", page.next), ("prev", "before", page.previous))
    made = [
        f'<{call.base}{call.url}?{urlencode({**kept, name: cursor}, doseq=True)}>; rel="{rel}"'
        for rel, name, cursor in found
        if cursor
    ]
    return ((b"link", ", ".join(made).encode()),) if made else ()
