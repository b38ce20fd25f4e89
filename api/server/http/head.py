"""The head of a request: request line, target and header fields (RFC 9112), beyond what the parser checks.

Also formats the responses to requests that are refused before the application gets them.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.http import problem_details
from api.middleware.request_exchange import HEADERS
from api.server.http.limits import ConnectionLimits
from schema.engine.errors import BadRequest, DirectoryError

Headers = list[tuple[bytes, bytes]]

log = logging.getLogger("tandem")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%!$&'()*+,;=-]{1,255})(?::(\d{0,5}))?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#@]*)(/[^?#]*)?(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_ORIGIN = re.compile(rb"(/[^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_METHOD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}"
# RFC 9112, 3: single spaces, a visible target, HTTP/1.0 or HTTP/1.1.
REQUEST_LINE = re.compile(rb"(?!CONNECT )(" + _METHOD + rb") ([!-~]+) HTTP/(1\.[01])\r\n")
_CONNECT = re.compile(rb"CONNECT [!-~]+ HTTP/1\.[01]\r\n")
_OTHER_VERSION = re.compile(_METHOD + rb" [!-~]+(?: HTTP/[0-9][0-9.]*)?\r\n")
_NOT_ASCII = re.compile(_METHOD + rb" [!-\x7e\x80-\xff]+ HTTP/1\.[01]\r\n")
_PART_OF_LINE = re.compile(rb"[ -~\x80-\xff]*\r?")
_PART_OF_TARGET = re.compile(_METHOD + rb" ([!-~]{1,1000})")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_MAX_METHOD_LENGTH = 60
_MAX_PORT = 65_535
_EMPTY = 4
_ONLY_CHUNKED = "unsupported transfer coding: only chunked is supported"
# Hosts that have been checked: most requests name one of a few.
HOSTS: set[bytes] = set()
_MAX_HOSTS = 1000
_FEW = 50
_MAX_PATH_LENGTH = 300


@dataclass(frozen=True, slots=True)
class HeaderFields:
    """The header fields of a request and what they say of its framing. `length` is None for a chunked body.

    `by_name` is None if a name is repeated.
    """

    text: bytes
    headers: Headers
    by_name: dict[str, str] | None
    length: int | None
    closes: bool
    expects: bool


def parse_fields(text: bytes, version: bytes, limits: ConnectionLimits) -> HeaderFields:
    """Parse header fields whose syntax the parser has accepted.

    Raises:
        BadRequest: `Host` or the framing violates RFC 9112 (3.2, 6).
        HeadersTooLarge: there are too many fields.
        NotImplementedHere: a transfer coding other than chunked.
    """
    parts = [line.partition(b":") for line in text[:-4].split(b"\r\n")] if len(text) > _EMPTY else []
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in parts]
    values = dict(headers)
    http_1_1 = version == b"1.1"
    if values.get(b"host") not in HOSTS or not http_1_1 or len(values) < len(headers) or len(headers) > _FEW:
        _check_hosts(headers, http_1_1, limits)
    length: int | None = 0
    if b"transfer-encoding" in values:
        _check_coding(headers, http_1_1)
        length = None
    elif b"content-length" in values:
        length = int(values[b"content-length"])
    by_name = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    # An HTTP/1.0 client would take 100 Continue for the response (RFC 9110, 10.1.1).
    expects = http_1_1 and values.get(b"expect", b"").lower() == b"100-continue"
    closes = not http_1_1 or b"close" in connection_options(headers)
    return HeaderFields(text, headers, by_name if len(by_name) == len(headers) else None, length, closes, expects)


def connection_options(headers: Headers) -> list[bytes]:
    """The options that `Connection` lists, in lower case (RFC 9110, 7.6.1)."""
    listed = b",".join([value.lower() for name, value in headers if name == b"connection"])
    return [option.strip(b" \t") for option in listed.split(b",")]


def request_line_error(head: bytes) -> DirectoryError:
    """The error for a head that does not begin with a valid `REQUEST_LINE`."""
    if _CONNECT.match(head):
        return problem_details.NotImplementedHere("CONNECT is not supported: this server is not a proxy")
    if _OTHER_VERSION.match(head):
        return problem_details.VersionNotSupported("unsupported HTTP version: use HTTP/1.1")
    if _NOT_ASCII.match(head):
        return BadRequest("invalid request target: characters outside ASCII must be percent-encoded")
    return BadRequest("invalid request line: expected a method, a target and HTTP/1.1 with single spaces between them")


def check_partial(partial: bytearray, start: int, line_is_valid: bool, limits: ConnectionLimits) -> bool:
    """Check an incomplete head, of which the bytes before `start` have been checked; raise if it cannot become valid.

    Returns whether its request line is complete, and so valid.
    """
    if not line_is_valid:
        if partial.find(b"\r\n", max(0, start - 1)) >= 0:
            line = REQUEST_LINE.match(partial)
            if line is None:
                raise request_line_error(bytes(partial[: limits.head]))
            check_size(line[2], partial, limits)
            line_is_valid = True
        elif not _PART_OF_LINE.fullmatch(partial, max(0, start - 1)):
            raise BadRequest("not an HTTP/1.1 request")
        elif len(partial) > limits.url + _MAX_METHOD_LENGTH:
            if _PART_OF_TARGET.match(partial):
                raise _url_too_long(limits)
            raise BadRequest("not an HTTP/1.1 request")
    if _BARE_LINE_FEED.search(partial, start):
        raise BadRequest("invalid line ending in the head: expected CR LF")
    if len(partial) > limits.head:
        raise _head_too_large(limits)
    return line_is_valid


def find_target(head: bytes | bytearray) -> bytes:
    """The target in a head that is refused, at most its first 1,000 bytes, for the problem document."""
    match = _PART_OF_TARGET.match(head)
    return bytes(match[1]) if match else b""


def check_size(target: bytes, head: bytes | bytearray, limits: ConnectionLimits) -> None:
    """Raise `UriTooLong` or `HeadersTooLarge` for a head of too many bytes."""
    if len(target) > limits.url:
        raise _url_too_long(limits)
    if len(head) > limits.head:
        raise _head_too_large(limits)


def parse_target(method: bytes, url: bytes, headers: Headers) -> tuple[bytes, bytes, Headers]:
    """Path, query and headers of a request; the host of an absolute target replaces `Host` (RFC 9112, 3.2.2)."""
    if match := _ORIGIN.fullmatch(url):
        return match[1], match[2] or b"", headers
    if url == b"*" and method == b"OPTIONS":
        return b"*", b"", headers
    match = _ABSOLUTE.fullmatch(url)
    if match is None:
        raise BadRequest("invalid request target: expected an absolute path")
    _check_host(match[1])
    replaced = [(name, match[1] if name == b"host" else value) for name, value in headers]
    return match[2] or b"/", match[3] or b"", replaced


def parser_error(error: Exception) -> DirectoryError:
    """The error for what the parser rejects. With a context the failure is one of our callbacks."""
    if error.__context__ is not None:
        log.error("reading a request failed", exc_info=error.__context__)
        return problem_details.INTERNAL_ERROR
    if "Request has invalid `Transfer-Encoding`" in str(error):  # which does not end in chunked
        return problem_details.NotImplementedHere(_ONLY_CHUNKED)
    return BadRequest(f"not an HTTP/1.1 request: {error}")


def refusal(error: DirectoryError, url: bytes, default_lines: bytes, *, logged: bool = False) -> tuple[int, bytes]:
    """Status and complete response to a request that the application does not get; it ends the connection.

    `logged`: a refusal has been logged this second, so this one is logged at DEBUG.
    """
    path, request_id = url.partition(b"?")[0].decode("latin-1") or "/", os.urandom(8).hex()
    response = problem_details.problem_response(error, path, request_id)
    level = logging.WARNING if response.status >= 500 and response.status != 505 and not logged else logging.DEBUG
    fields = {"path": path[:_MAX_PATH_LENGTH], "status": response.status, "code": error.code, "request_id": request_id}
    log.log(level, "request refused by the HTTP server", extra=fields)
    lines = [b": ".join(header) for header in (*response.headers, *HEADERS)]
    lines += [b"content-length: %d" % len(response.body), b"cache-control: no-store", b"connection: close"]
    lines += [b"x-request-id: " + request_id.encode()]
    return response.status, STATUS_LINE[response.status] + default_lines + b"\r\n".join([*lines, b"", response.body])


def _url_too_long(limits: ConnectionLimits) -> DirectoryError:
    return problem_details.UriTooLong(f"the URL must have at most {limits.url} bytes")


def _head_too_large(limits: ConnectionLimits) -> DirectoryError:
    return problem_details.HeadersTooLarge(f"the head of the request must have at most {limits.head} bytes")


def _check_hosts(headers: Headers, http_1_1: bool, limits: ConnectionLimits) -> None:
    """Check that there is one valid `Host`, and not too many fields."""
    if len(headers) > limits.headers:
        raise problem_details.HeadersTooLarge(f"the request must have at most {limits.headers} header fields")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and http_1_1):
        raise BadRequest(f"the request must have exactly one Host, got {len(hosts) or 'none'}")
    for host in hosts:
        _check_host(host)


def _check_host(host: bytes) -> None:
    if host in HOSTS:
        return
    match = _HOST.fullmatch(host)
    if match is None or int(match[1] or 0) > _MAX_PORT:
        raise BadRequest("invalid header Host: expected a host name or address, and a port of at most 65535 if any")
    if len(HOSTS) < _MAX_HOSTS:
        HOSTS.add(host)


def _check_coding(headers: Headers, http_1_1: bool) -> None:
    """Refuse ambiguous framing, with which one request can be hidden in another (RFC 9112, 11.2)."""
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if not http_1_1 or any(name == b"content-length" for name, _ in headers):
        raise BadRequest("Transfer-Encoding is not allowed in HTTP/1.0 or beside Content-Length")
    if codings != [b"chunked"]:
        raise problem_details.NotImplementedHere(_ONLY_CHUNKED)
