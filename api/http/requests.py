"""The parts of a request that every API reads the same way: headers, media types, query string and body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from api.http.problem_details import NotAcceptable, PayloadTooLarge, UnsupportedMediaType
from schema.engine.errors import BadRequest

# Longer headers are parsed each time: a thousand of them would fill the memory.
MAX_CACHED_HEADER = 500


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers by lower-case name; values of a repeated header are joined by commas.

    They stay in the scope as `headers_by_name`, where our own server leaves them, parsed once per distinct head.
    """
    if "headers_by_name" in scope:
        return cast(dict[str, str], scope["headers_by_name"])
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    scope["headers_by_name"] = headers
    return headers


def check_accept(accept: str | None, offered: tuple[str, ...] = ("application/json",)) -> None:
    """Raise `NotAcceptable` if the client accepts none of the offered media types."""
    if accept is None or accept in ("*/*", "application/json"):
        return
    if not any(quality_of(accept, media_type) > 0 for media_type in offered):
        raise NotAcceptable(f"Accept: must allow {' or '.join(offered)}")


def quality_of(accept: str, media_type: str) -> float:
    """Return the weight that an Accept header gives to a media type, from 0 to 1 (RFC 9110, 12.5.1)."""
    return (_quality if len(accept) <= MAX_CACHED_HEADER else _quality.__wrapped__)(accept, media_type)


def check_media_type(content_type: str | None, accepted: Sequence[str], method: str) -> None:
    """Raise `UnsupportedMediaType` unless the Content-Type is one of the accepted ones, in UTF-8."""
    if content_type in accepted:
        return
    name, _, parameters = (content_type or "").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if name.strip() in accepted and charset in ("", "utf-8", "utf8"):
        return
    listed = ", ".join(accepted)
    header = {"PATCH": b"accept-patch", "POST": b"accept-post"}.get(method, b"accept")
    raise UnsupportedMediaType(f"Content-Type: must be {' or '.join(accepted)}, in UTF-8", [(header, listed.encode())])


def parse_query(query: bytes) -> dict[str, list[str]]:
    """Return the parameters of a query string, each with all its values.

    Raises:
        BadRequest: it is not UTF-8 in percent-encoding.
    """
    if not query:
        return {}
    try:
        text = query.decode("ascii")
        if "%" in text or "+" in text:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
        else:
            # Most query strings have nothing encoded.
            pairs = [(name, value) for name, _, value in [part.partition("=") for part in text.split("&") if part]]
    except UnicodeError:
        raise BadRequest("the query string must be UTF-8 in percent-encoding") from None
    parameters: dict[str, list[str]] = {}
    for name, value in pairs:
        parameters.setdefault(name, []).append(value)
    return parameters


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """Read the body, of at most `limit` bytes.

    Raises:
        PayloadTooLarge: it is longer; where Content-Length says so, nothing is read.
        BadRequest: the client disconnected before the end.
    """
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the connection was closed before the body was complete")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


@lru_cache(maxsize=1000)
def _quality(accept: str, media_type: str) -> float:
    """The most specific matching range decides."""
    best = (0, 0.0)
    for part in accept.split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        specificity = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}.get(name, 0)
        if specificity > best[0]:
            best = (specificity, _weight(parameters))
    return best[1]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body must have at most {limit} bytes")
