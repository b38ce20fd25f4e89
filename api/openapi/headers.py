"""The response headers, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any

from api.rest.parameters import Schema

_EVERYWHERE = ("Access-Control-Allow-Origin", "RateLimit", "RateLimit-Policy", "X-Request-ID")


def header_references(*names: str) -> dict[str, Schema]:
    """Return references to these headers, and to those that any response may have."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*_EVERYWHERE, *names)}


def _header(description: str, example: Any, *, always: bool = False, **keywords: Any) -> Schema:
    schema = {"type": "string", "maxLength": 2000, "pattern": r"^[ -~]*$", **keywords}
    return {"description": description, "required": always, "schema": schema, "example": example}


_SECONDS = {"type": "integer", "format": "int32", "minimum": 0, "maximum": 86400}
HEADERS: dict[str, Schema] = {
    "Accept-Patch": _header(
        "The media types that PATCH accepts (RFC 5789).", "application/merge-patch+json, application/json"
    ),
    "Accept-Post": _header("The media types that POST accepts.", "application/json"),
    "Access-Control-Allow-Origin": _header(
        "The origin of the calling page, where CORS is enabled.", "https://app.example.org"
    ),
    "ETag": _header(
        "The entity tag: of a record, its version and a checksum of what this client may see of it.",
        '"1-9c3ae4d1"',
        always=True,
        pattern='^"[0-9a-f]{1,20}(-[0-9a-z]{1,10})?"$',
    ),
    "Link": _header(
        "The next and the previous page (RFC 8288), if they exist.",
        '</users?after=WyJhIl0>; rel="next", </users?before=WyJiIl0>; rel="prev"',
        maxLength=40000,
    ),
    "Location": _header(
        "The path of the new record.",
        "/users/019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11",
        always=True,
        format="uri-reference",
    ),
    "RateLimit": _header("The number of requests left, where a rate limit applies.", '"default";r=599;t=60'),
    "RateLimit-Policy": _header("The rate limit, where one applies.", '"default";q=600;w=60'),
    "Retry-After": _header("The number of seconds to wait before a retry.", 1, always=True) | {"schema": _SECONDS},
    "WWW-Authenticate": _header("The authentication that is required (RFC 6750).", "Bearer", always=True),
    "X-Request-ID": _header(
        "The id of this request in the server's log.", "4f1c2a9e5d7b4c36", always=True, maxLength=100
    ),
}
