"""Every knob, its default and its meaning. Nothing else reads the environment.

`read()` gives the settings or raises `WrongSetting`, whose sentence names the setting, what it got and what it takes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote


class WrongSetting(Exception):
    """A setting that Tandem cannot start with."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What this process is to do. `described` says of each what it means."""

    environment: Literal["production", "development"]
    host: str
    port: int
    database: str
    workers: int
    log_level: str
    body_limit: int
    graphql_body_limit: int
    request_timeout: float

    @property
    def development(self) -> bool:
        """Whether the service runs on its developer's own machine."""
        return self.environment == "development"


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting: its name in the environment, how its text is read, its defaults, and what it is for."""

    name: str
    read: Callable[[str], Any]
    takes: str
    meaning: str
    default: str | None
    in_development: str | None = None
    secret: bool = False

    def text(self, given: Mapping[str, str]) -> str | None:
        """What is set, or the default that belongs to the environment."""
        development = given.get("TANDEM_ENV", "").strip().lower() == "development"
        default = self.in_development or self.default if development else self.default
        return given.get(self.name, "").strip() or default


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings that the environment holds."""
    given = os.environ if environment is None else environment
    return Settings(**{name: _value(knob, given) for name, knob in KNOBS.items()})


def listed(given: Mapping[str, str] | None = None) -> list[tuple[str, str, str]]:
    """Each setting's name, present value and meaning; secrets masked."""
    environment = os.environ if given is None else given
    return [(knob.name, _shown(knob, environment), knob.meaning) for knob in KNOBS.values()]


def _value(knob: Knob, given: Mapping[str, str]) -> Any:
    text = knob.text(given)
    if text is None:
        raise WrongSetting(f"{knob.name} is not set; it takes {knob.takes}")
    try:
        return knob.read(text)
    except ValueError:
        got = "something else" if knob.secret else repr(text)
        raise WrongSetting(f"{knob.name} is {got}; it takes {knob.takes}") from None


def _shown(knob: Knob, given: Mapping[str, str]) -> str:
    text = knob.text(given) or ""
    return re.sub(r"//.*@", "//***@", text) if knob.secret else text


def _text(text: str) -> str:
    return text


def _one_of(*choices: str) -> Callable[[str], str]:
    def chosen(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError
        return text.lower()

    return chosen


def _integer(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return number


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,3}(\.\d+)?", text, re.ASCII) or not 0.1 <= float(text) <= 300:
        raise ValueError
    return float(text)


def _database(text: str) -> str:
    """The path of an SQLite file."""
    found = re.fullmatch(r"sqlite(?:\+aiosqlite)?:///(?P<path>[^?#]+)", text)
    if found is None or ":memory:" in text:
        raise ValueError
    return unquote(found["path"])


KNOBS: dict[str, Knob] = {
    "environment": Knob(
        "TANDEM_ENV", _one_of("production", "development"), "production or development",
        "In development the service serves its own machine alone, and who calls from there is an administrator.",
        "production",
    ),
    "host": Knob(
        "HOST", _text, "an address to listen on",
        "Where to listen: in development on this machine alone, in production on all addresses.",
        "::", "127.0.0.1",
    ),
    "port": Knob("PORT", _integer(1, 65535), "a port, 1 to 65535", "The port to listen on.", "8000"),
    "database": Knob(
        "DATABASE_URL", _database, "sqlite:///path, with a fourth slash for an absolute path",
        "The database; in development a file in the working folder.",
        None, "sqlite:///tandem.db", secret=True,
    ),
    "workers": Knob("WEB_CONCURRENCY", _integer(1, 1), "1: SQLite has one writer", "How many processes serve.", "1"),
    "log_level": Knob(
        "LOG_LEVEL", _one_of("debug", "info", "warning", "error"), "debug, info, warning or error",
        "How much is logged.", "info",
    ),
    "body_limit": Knob(
        "TANDEM_BODY_LIMIT", _integer(1024, 2**26), "bytes, 1024 to 67108864",
        "The largest body that the REST door takes, in bytes.", str(256 * 1024),
    ),
    "graphql_body_limit": Knob(
        "TANDEM_GRAPHQL_BODY_LIMIT", _integer(1024, 2**26), "bytes, 1024 to 67108864",
        "The largest body that the GraphQL door takes, in bytes.", str(128 * 1024),
    ),
    "request_timeout": Knob(
        "TANDEM_REQUEST_TIMEOUT", _seconds, "seconds, 0.1 to 300",
        "How long the database may take to answer; past it, a request is answered with 503.", "15",
    ),
}  # fmt: skip
