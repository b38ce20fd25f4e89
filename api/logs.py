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
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
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
Event = MutableMapping[str, Any]


def begin(level: str, *, development: bool, stream: IO[str] | None = None) -> None:
    """From here on, all that is logged by whomever goes to one place (the standard error) in one form."""
    import structlog  # only here: other commands start without it

    stream = stream or sys.stderr
    render: Any = structlog.processors.JSONRenderer(serializer=_json)
    if development:
        render = structlog.dev.ConsoleRenderer(colors=stream.isatty(), sort_keys=False)
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp" if development else "time"),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _with_request,
            structlog.stdlib.ExtraAdder(),
            _with_error,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _struck,
            _told if development else structlog.processors.EventRenamer("message"),
            render,
        ]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    _route(handler, level.upper())


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


def _with_request(logger: Any, method: str, event: Event) -> Event:
    if request_id := REQUEST_ID.get():
        event["request_id"] = request_id
    return event


def _with_error(logger: Any, method: str, event: Event) -> Event:
    """The exception as fields."""
    event.pop("stack_info", None)
    event.pop("color_message", None)  # uvicorn's lines come twice, once in colours
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["error"] = described(error)
    return event


def _struck(logger: Any, method: str, event: Event) -> Event:
    for name, value in event.items():
        event[name] = _clean(value)
    return event


def _clean(value: Any) -> Any:
    """A field whose texts are scrubbed, at any depth."""
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, Mapping):
        return {str(name): _clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return value if isinstance(value, int | float | bool | None) else scrubbed(str(value))


def _told(logger: Any, method: str, event: Event) -> Event:
    """An error as lines below, for those who read the console; and no character that could drive a terminal."""
    if error := event.pop("error", None):
        because = [f"  because of {cause}" for cause in error.get("because", ())]
        lines = [*(f"  at {place}" for place in error["at"]), *because, f"{error['type']}: {error['sentence']}"]
        event["exception"] = "\n".join(lines)
    for name, value in event.items():
        if isinstance(value, str) and name != "exception":
            event[name] = re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", value)
    return event


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
