"""Conditional requests (RFC 9110, 13) and links (RFC 8288): what the headers say, and how they are described."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode
from zlib import crc32

from api.rest.endpoint import EndpointRequest, Parameter, Schema
from schema.engine.operations.records import PageResult, RecordResult

_TAG = re.compile(r'(W/)?"([^"]*)"')
_VERSION = re.compile(r"([1-9][0-9]{0,9})(?:-[0-9a-z]{1,16})?", re.ASCII)

_LONGEST = 1000


def _tags(text: str) -> str:
    if len(text) > _LONGEST:
        raise ValueError(f"it may have {_LONGEST} characters")
    return text


# `*`, or entity tags parted by commas. No pattern, for none is enforced: what is no tag of ours matches nothing.
_TAGS: Schema = {"type": "string", "format": "entity-tags", "maxLength": _LONGEST}
_MATCH = "Only if the record still has the version that this entity tag names, whatever else was seen of it; else 412."
_NONE_MATCH = "The entity tag of what the caller already has; 304 if it is still the same."
IF_MATCH = Parameter("If-Match", "header", _TAGS, _tags, _MATCH, example='"1-9c3ae4d1"')
IF_NONE_MATCH = Parameter("If-None-Match", "header", _TAGS, _tags, _NONE_MATCH, example='"1-9c3ae4d1"')


def etag(found: RecordResult) -> str:
    """The entity tag of one representation of a record: its version, then a checksum of the JSON as this actor sees it.

    So whoever sees other fields, or another record under the same path (`/me`), has another tag.
    """
    return f'"{found.version}-{crc32(found.json):08x}"'


def etag_of_page(body: bytes) -> str:
    """The entity tag of a page: of what it says, for no version stands for all of it."""
    return f'"{crc32(body):08x}-{len(body):x}"'


def is_fresh(call: EndpointRequest, tag: str) -> bool:
    """Whether `If-None-Match` says that the caller has this already."""
    sent = call.headers.get("if-none-match")
    return sent is not None and (sent.strip() == "*" or tag.strip('"') in [found for _, found in _TAG.findall(sent)])


def expected_versions(headers: Mapping[str, str]) -> frozenset[int] | None:
    """The versions that `If-Match` allows; None if any will do. Which view of the record was seen does not matter.

    A weak tag matches nothing here (RFC 9110, 13.1.1): it does not promise that it is the same.
    """
    sent = headers.get("if-match")
    if sent is None or sent.strip() == "*":
        return None
    found = (_VERSION.fullmatch(tag) for weak, tag in _TAG.findall(sent) if not weak)
    return frozenset(int(version[1]) for version in found if version)


def link_header(call: EndpointRequest, page: PageResult) -> tuple[tuple[bytes, bytes], ...]:
    """`Link` with the next and the previous page, as far as there are any."""
    kept = tuple([(name, it) for name, sent in call.sent.items() if name not in ("after", "before") for it in sent])
    start = f"<{call.base}{call.url}?{_query(kept)}"
    # A cursor is base64url: it stands in a URL as it is.
    found = (("next", "after", page.next), ("prev", "before", page.previous))
    made = [f'{start}{name}={cursor}>; rel="{rel}"' for rel, name, cursor in found if cursor]
    return ((b"link", ", ".join(made).encode()),) if made else ()


@lru_cache(1000)
def _query(pairs: tuple[tuple[str, str], ...]) -> str:
    """The beginning of a query string, so that another parameter can follow."""
    return f"{urlencode(pairs)}&" if pairs else ""


def described(*names: str) -> dict[str, Schema]:
    """The headers of an answer, as the document refers to them: these, and those that any answer may have."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*_EVERYWHERE, *names)}


def _header(description: str, example: Any, *, always: bool = False, **words: Any) -> Schema:
    schema = {"type": "string", "maxLength": 2000, "pattern": r"^[ -~]*$", **words}
    return {"description": description, "required": always, "schema": schema, "example": example}


_EVERYWHERE = ("Access-Control-Allow-Origin", "RateLimit", "RateLimit-Policy", "X-Request-ID")
_SECONDS = {"type": "integer", "format": "int32", "minimum": 0, "maximum": 86400}
HEADERS: dict[str, Schema] = {
    "Accept-Patch": _header("What a PATCH may carry (RFC 5789).", "application/merge-patch+json, application/json"),
    "Accept-Post": _header("What a POST may carry.", "application/json"),
    "Access-Control-Allow-Origin": _header(
        "The origin of the page that asks, where pages of other sites are let in.", "https://app.example.org"
    ),
    "ETag": _header(
        "What this answer is known by: a record by its version, then a checksum of what this caller sees of it.",
        '"1-9c3ae4d1"',
        always=True,
        pattern='^"[0-9a-f]{1,20}(-[0-9a-z]{1,10})?"$',
    ),
    "Link": _header(
        "The next and the previous page (RFC 8288), where there are any.",
        '</users?after=WyJhIl0>; rel="next", </users?before=WyJiIl0>; rel="prev"',
        maxLength=40000,
    ),
    "Location": _header(
        "Where the new record is.",
        "/users/019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11",
        always=True,
        format="uri-reference",
    ),
    "RateLimit": _header("How many requests are left, where they are limited.", '"default";r=599;t=60'),
    "RateLimit-Policy": _header("How many requests there may be, where they are limited.", '"default";q=600;w=60'),
    "Retry-After": _header("How many seconds to wait before trying again.", 1, always=True) | {"schema": _SECONDS},
    "WWW-Authenticate": _header("What would do (RFC 6750).", "Bearer", always=True),
    "X-Request-ID": _header("What the log knows this request by.", "4f1c2a9e5d7b4c36", always=True, maxLength=100),
}
