"""A request read part by part, in the order in which it can be refused: media types, parameters, body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, cast
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from api.http.problem_details import NotAcceptable, PayloadTooLarge, UnsupportedMediaType
from api.rest.endpoint import Body, Parameter
from schema.engine.errors import BadRequest, FieldError, ValidationFailed

# Longer headers are read anew each time: a thousand of them would fill the memory.
LONGEST_KEPT = 500


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers by lower-case name; those that are sent several times joined by commas.

    A server that has made them before, for the same head, leaves them in the scope as `named`.
    """
    if "headers_by_name" in scope:
        return cast(dict[str, str], scope["headers_by_name"])
    made: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        made[key] = f"{made[key]}, {text}" if key in made else text
    return made


def check_accept(accept: str | None, offered: tuple[str, ...] = ("application/json",)) -> None:
    """`NotAcceptable` if the caller takes none of the media types that are offered."""
    if accept is None or accept in ("*/*", "application/json"):
        return
    if not any(quality_of(accept, media) > 0 for media in offered):
        raise NotAcceptable(f"this is to be had as {', '.join(offered)}")


def quality_of(accept: str, media: str) -> float:
    """How much an Accept header wants a media type, from 0 to 1 (RFC 9110, 12.5.1): the closest range decides."""
    return (_quality if len(accept) <= LONGEST_KEPT else _quality.__wrapped__)(accept, media)


@lru_cache(maxsize=1000)
def _quality(accept: str, media: str) -> float:
    best = (0, 0.0)
    for part in accept.split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        closeness = {media: 3, f"{media.partition('/')[0]}/*": 2, "*/*": 1}.get(name, 0)
        if closeness > best[0]:
            best = (closeness, _weight(parameters))
    return best[1]


def check_media_type(body: Body, content_type: str | None, has_body: bool, method: str) -> None:
    """`UnsupportedMediaType` if the body is in none of the forms that the endpoint reads."""
    if not has_body and not body.required:
        return
    if is_taken(content_type or "", body.media):
        return
    accepted = ", ".join(body.media)
    header = {"PATCH": b"accept-patch", "POST": b"accept-post"}.get(method, b"accept")
    raise UnsupportedMediaType(f"a body is taken as {accepted}, in UTF-8", [(header, accepted.encode())])


def is_taken(content_type: str, media: tuple[str, ...]) -> bool:
    """Whether a body of this Content-Type is in one of the media types, in UTF-8."""
    if content_type in media:
        return True
    name, _, parameters = content_type.lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    return name.strip() in media and charset in ("", "utf-8", "utf8")


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The body; `PayloadTooLarge` past `limit` bytes, and before any is read where its length says so."""
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise PayloadTooLarge(f"a body may have {limit} bytes")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the connection was closed before the body was complete")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"a body may have {limit} bytes")
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


class Parameters:
    """An endpoint's parameters, by where they stand and by their names; headers come in lower case."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        known = list(parameters)
        self._path = {it.name: it for it in known if it.place == "path"}
        self._query = {it.name: it for it in known if it.place == "query"}
        self._headers = {it.name.lower(): it for it in known if it.place == "header"}
        self._needed = any(it.required for it in self._query.values())

    def read(
        self, path: Mapping[str, str], query: Mapping[str, list[str]], headers: Mapping[str, str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values of the path and of the query; `BadRequest` or `Invalid` with all that is wrong with them."""
        field_errors: list[FieldError] = []
        in_path = _values(self._path, {name: [text] for name, text in path.items()}, field_errors) if path else {}
        in_query = _values(self._query, query, field_errors) if query or self._needed else {}
        for name, parameter in self._headers.items():
            if name in headers:
                _values({name: parameter}, {name: [headers[name]]}, field_errors)
        if field_errors:
            raise ValidationFailed.of(*field_errors)
        return in_path, in_query


def query_of(query: bytes) -> dict[str, list[str]]:
    """The parameters of a query string in UTF-8, each with all its values."""
    if not query:
        return {}
    try:
        text = query.decode("ascii")
        if "%" in text or "+" in text:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
        else:
            # Nothing is encoded, as in most.
            pairs = [(name, value) for name, _, value in [it.partition("=") for it in text.split("&") if it]]
    except UnicodeError:
        raise BadRequest("the query string is not UTF-8 in percent-encoding") from None
    made: dict[str, list[str]] = {}
    for name, value in pairs:
        made.setdefault(name, []).append(value)
    return made


def _values(
    known: Mapping[str, Parameter], sent: Mapping[str, list[str]], field_errors: list[FieldError]
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, texts in sent.items():
        parameter = known.get(name)
        try:
            if parameter is None:
                field_errors.append(_unknown(name, known))
            else:
                made[name] = _many(parameter, texts) if parameter.many else _single(parameter, texts)
        except ValueError as error:
            field_errors.append(
                FieldError((parameter.name if parameter else name,), str(error), "invalid", "parameter")
            )
    for name, parameter in known.items():
        if parameter.required and name not in sent:
            field_errors.append(FieldError((name,), "it is required", "required", "parameter"))
    return made


def _unknown(name: str, known: Iterable[str]) -> FieldError:
    listed = ", ".join(known)
    said = f"there is no such parameter; {f'there are {listed}' if listed else 'nor is there any other'}"
    return FieldError((name,), said, "unknown", "parameter")


def _single(parameter: Parameter, texts: list[str]) -> Any:
    if len(texts) > 1:
        field_error = FieldError((parameter.name,), "it stands more than once", "repeated", "parameter")
        raise BadRequest(f"{parameter.name} stands more than once", [field_error])
    return parameter.read(texts[0])


def _many(parameter: Parameter, texts: list[str]) -> list[Any]:
    items = [item for text in texts for item in text.split(",")]
    least, most = parameter.schema.get("minItems", 0), parameter.schema["maxItems"]
    if not least <= len(items) <= most:
        raise ValueError(f"it may have {most} values, at least {least}, and has {len(items)}")
    return [parameter.read(item) for item in items]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0
