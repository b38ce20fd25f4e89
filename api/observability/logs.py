"""What is logged, and how it is written: one JSON object a line in production, for people to read in development.

Whoever logs uses the standard library's `logging`, with `extra` for what is to be a field of its own; uvicorn's lines
come the same way. No line holds a value that somebody sent or stored: of an exception it has the kinds, the places in
the code, and the sentence without what stands in quotes. Whatever still looks like an address or a credential is struck
out.
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

# The id of the request that is being answered.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
OURS = ("tandem", "api", "schema")
STRUCK = "…"
_LONGEST = 2000
_MOST_FRAMES, _MOST_CAUSES = 30, 5
_CREDENTIAL = re.compile(
    r"tdm_\w+|eyJ[\w-]+(?:\.[\w-]*)*|(?i:bearer|basic)\s+[\w.~+/=-]+|(?<=://)[^/@\s]+(?=@)"
    r"|(?<![^\s@,;:<>()/=])[^\s@,;:<>()/=]++@[^\s@,;<>()/]+"
)
# What stands in quotes, and all behind an equals sign or a bracket: where messages put the values.
_VALUES = re.compile(r"'(?:[^'\\]|\\.)*'?|\"(?:[^\"\\]|\\.)*\"?|`[^`]*`?|\{.*|\[.*|\(.*|(?<==)\S+|\b\d{3,}\b")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What every record has; uvicorn's have their message once more, in colours.
_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}
Event = dict[str, Any]


def begin(level: str, *, development: bool, stream: IO[str] | None = None) -> None:
    """From here on, all that is logged by whomever goes to one place (the standard error) in one form."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines(_console(stream.isatty()) if development else _json))
    _route(handler, level.upper())


class _Lines(logging.Formatter):
    """A record as fields, struck clean, and then as text."""

    def __init__(self, write: Callable[[Event], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return self._write(_event(record))


def _event(record: logging.LogRecord) -> Event:
    """The fields of a record: those that all have, those that it was given, and its exception."""
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    event: Event = {
        "time": moment.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    if request_id := REQUEST_ID.get():
        event["request_id"] = request_id
    event |= {name: value for name, value in vars(record).items() if name not in _USUAL}
    if record.exc_info and record.exc_info[1] is not None:
        event["error"] = described(record.exc_info[1])
    return {name: _clean(value) for name, value in event.items()}


def _route(handler: logging.Handler, level: str) -> None:
    """One handler for all. What others log below a warning is what they were given: statements, frames, headers."""
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


def scrubbed(text: str) -> str:
    """A text without what looks like an address or a credential."""
    return _CREDENTIAL.sub(STRUCK, text[:_LONGEST])


def described(error: BaseException) -> dict[str, Any]:
    """An exception without the values in it: its kind, its sentence as far as it is ours, where it arose, and why."""
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    told: dict[str, Any] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
        "sentence": _sentence(error),
        "at": [f"{_place(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
    }
    causes: list[str] = []
    cause = error
    while len(causes) < _MOST_CAUSES:
        following = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if following is None:
            break
        cause = following
        causes.append(f"{type(cause).__module__}.{type(cause).__qualname__}: {_sentence(cause)}")
    return {**told, "because": causes} if causes else told


def _sentence(error: BaseException) -> str:
    """The first line of what it says: databases put the values into those that follow."""
    said = str(getattr(error, "orig", None) or error)
    return scrubbed(_VALUES.sub(STRUCK, said[:_LONGEST].partition("\n")[0]))


def _place(path: str) -> str:
    """A file by the last parts of its path: where the code is installed is nobody's business."""
    return "/".join(path.split("/")[-3:])


def _clean(value: Any) -> Any:
    """A field whose texts are scrubbed, at any depth."""
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, Mapping):
        return {str(name): _clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return value if isinstance(value, int | float | bool | None) else scrubbed(str(value))


def _json(event: Event) -> str:
    return orjson.dumps(event, default=str).decode()


def _console(colors: bool) -> Callable[[Event], str]:
    """For people: an error as lines below, and no character that could drive a terminal."""
    from structlog.dev import ConsoleRenderer  # only here: it brings 8 MB that production does without

    render = ConsoleRenderer(colors=colors, sort_keys=False)

    def shown(event: Event) -> str:
        error = event.pop("error", None)
        told = {name: _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(value)) for name, value in event.items()}
        told = {"timestamp": told.pop("time"), "event": told.pop("message"), **told}
        if error:
            because = [f"  because of {cause}" for cause in error.get("because", ())]
            lines = [*(f"  at {place}" for place in error["at"]), *because, f"{error['type']}: {error['sentence']}"]
            told["exception"] = "\n".join(lines)
        return str(render(None, "", told))

    return shown
