"""Logging: one JSON object a line in production, readable text in development.

Code logs through the standard library's `logging`; `extra` becomes fields of the line. Lines contain no values of
requests or records: of an exception only its type, the places in the code, and its message without quoted parts.
What still looks like an address or a credential is redacted.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

import orjson

# The id of the current request.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
OURS = ("tandem", "api", "schema")
REDACTED = "…"
_MAX_LENGTH = 2000
_MAX_FRAMES, _MAX_CAUSES = 30, 5
_CREDENTIAL = re.compile(
    r"tdm_\w+|eyJ[\w-]+(?:\.[\w-]*)*|(?i:bearer|basic)\s+[\w.~+/=-]+|(?<=://)[^/@\s]+(?=@)"
    r"|(?<![^\s@,;:<>()/=])[^\s@,;:<>()/=]++@[^\s@,;<>()/]+"
)
# Where messages put values: in quotes, after an equals sign or a bracket.
_VALUES = re.compile(r"'(?:[^'\\]|\\.)*'?|\"(?:[^\"\\]|\\.)*\"?|`[^`]*`?|\{.*|\[.*|\(.*|(?<==)\S+|\b\d{3,}\b")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# The attributes of every record; uvicorn repeats the message in colours.
_STANDARD_ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}
Event = dict[str, Any]


def configure(level: str, *, development: bool, stream: IO[str] | None = None) -> None:
    """Send the log of this process, libraries included, to the stream (by default stderr)."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter(_console(stream.isatty()) if development else _json))
    _route(handler, level.upper())


class _Formatter(logging.Formatter):
    """Turns a record into redacted fields, and those into text."""

    def __init__(self, write: Callable[[Event], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        return self._write(_event(record))


def _event(record: logging.LogRecord) -> Event:
    """Return the redacted fields of a record: the standard ones, `extra`, and its exception."""
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    event: Event = {
        "time": moment.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    if request_id := REQUEST_ID.get():
        event["request_id"] = request_id
    event |= {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
    if record.exc_info and record.exc_info[1] is not None:
        event["error"] = describe_exception(record.exc_info[1])
    return {name: _redact(value) for name, value in event.items()}


def _route(handler: logging.Handler, level: str) -> None:
    """Use one handler for all loggers. Libraries log from warnings on: below that, they log statements and headers."""
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET if name != "uvicorn" else max(logging.INFO, logging.getLevelName(level)))
    logging.captureWarnings(True)


def redacted(text: str) -> str:
    """Truncate a text, and redact what looks like an address or a credential."""
    return _CREDENTIAL.sub(REDACTED, text[:_MAX_LENGTH])


def describe_exception(error: BaseException) -> dict[str, Any]:
    """Describe an exception without values: its type, its redacted message, its place and its causes."""
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    description: dict[str, Any] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
        "message": _message(error),
        "at": [f"{_place(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
    }
    causes: list[str] = []
    cause = error
    while len(causes) < _MAX_CAUSES:
        following = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if following is None:
            break
        cause = following
        causes.append(f"{type(cause).__module__}.{type(cause).__qualname__}: {_message(cause)}")
    return {**description, "causes": causes} if causes else description


def _message(error: BaseException) -> str:
    """Return the first line of the message: in databases' messages values follow in others."""
    message = str(getattr(error, "orig", None) or error)
    return redacted(_VALUES.sub(REDACTED, message[:_MAX_LENGTH].partition("\n")[0]))


def _place(path: str) -> str:
    """Return the last parts of a path: the log does not say where the code is installed."""
    return "/".join(path.split("/")[-3:])


def _redact(value: Any) -> Any:
    """Redact the texts of a field, at any depth."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {str(name): _redact(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(inner) for inner in value]
    return value if isinstance(value, int | float | bool | None) else redacted(str(value))


def _json(event: Event) -> str:
    return orjson.dumps(event, default=str).decode()


def _console(colors: bool) -> Callable[[Event], str]:
    """For development: an exception follows in lines of its own; control characters are replaced."""
    from structlog.dev import ConsoleRenderer  # only here: it brings 8 MB that production does without

    render = ConsoleRenderer(colors=colors, sort_keys=False)

    def write(event: Event) -> str:
        error = event.pop("error", None)
        fields = {name: _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(value)) for name, value in event.items()}
        fields = {"timestamp": fields.pop("time"), "event": fields.pop("message"), **fields}
        if error:
            causes = [f"  because of {cause}" for cause in error.get("causes", ())]
            lines = [*(f"  at {place}" for place in error["at"]), *causes, f"{error['type']}: {error['message']}"]
            fields["exception"] = "\n".join(lines)
        return str(render(None, "", fields))

    return write
