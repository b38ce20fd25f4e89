"""What this process is to do, as the environment has it. Nothing else reads the environment.

`read()` gives the settings or raises `WrongSetting`, whose sentence names the setting, what it got and what it takes.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from api.knobs import KNOBS, Knob
from schema.engine.database_url import is_postgres


class InvalidSetting(Exception):
    """A setting that Tandem cannot start with."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What this process is to do. `knobs.py` says of each what it means."""

    environment: Literal["production", "development"]
    host: str
    port: int
    database: str
    read_database: str | None
    pool: int
    workers: int
    log_level: str
    body_limit: int
    graphql_body_limit: int
    request_timeout: float
    secret_keys: tuple[tuple[str | None, bytes], ...]
    jwt_audience: str
    jwt_subject: Literal["external_id", "id"]
    jwt_roles_claim: str
    oidc_issuer: str | None
    oidc_audience: str | None
    jwks_file: str | None
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    trusted_proxies: int | tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    rate: int
    credential_rate: int
    rate_limit_url: str | None
    running: int
    credential_share: int
    connections: int
    sockets: int
    sockets_per_address: int
    graphql_depth: int
    graphql_records: int
    metrics_token: str | None
    tracing: Literal["off", "on"]

    @property
    def development(self) -> bool:
        """Whether the service runs on its developer's own machine."""
        return self.environment == "development"


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings that the environment holds."""
    given = os.environ if environment is None else environment
    settings = Settings(**{name: _value(knob, given) for name, knob in KNOBS.items()})
    for name, goes_with in (("oidc_issuer", "oidc_audience"), ("jwks_file", "oidc_issuer")):
        if getattr(settings, name) and not getattr(settings, goes_with):
            knob, missing = KNOBS[name], KNOBS[goes_with]
            raise InvalidSetting(f"{missing.name} is not set, though {knob.name} is; it takes {missing.takes}")
    if settings.jwks_file and not Path(settings.jwks_file).is_file():
        knob = KNOBS["jwks_file"]
        raise InvalidSetting(f"{knob.name} is {settings.jwks_file!r}; it takes {knob.takes}")
    _check_together(settings)
    return settings


def listed(given: Mapping[str, str] | None = None) -> list[tuple[str, str, str]]:
    """Each setting's name, present value and meaning; secrets masked."""
    environment = os.environ if given is None else given
    return [(knob.name, _shown(knob, environment), knob.meaning) for knob in KNOBS.values()]


def _check_together(settings: Settings) -> None:
    """What no setting says alone."""
    if is_postgres(settings.database):
        return
    if settings.workers > 1:
        raise InvalidSetting(
            f"WEB_CONCURRENCY is {settings.workers}, but SQLite serves one process: set it to 1, or take a PostgreSQL"
        )
    if settings.read_database:
        raise InvalidSetting(
            "TANDEM_READ_DATABASE_URL is set, but DATABASE_URL is no PostgreSQL: SQLite has no replicas"
        )


def _value(knob: Knob, given: Mapping[str, str]) -> Any:
    text = knob.text(given)
    if text is None:
        raise InvalidSetting(f"{knob.name} is not set; it takes {knob.takes}")
    try:
        return knob.read(text)
    except ValueError:
        got = "something else" if knob.secret else repr(text)
        raise InvalidSetting(f"{knob.name} is {got}; it takes {knob.takes}") from None


def _shown(knob: Knob, given: Mapping[str, str]) -> str:
    text = knob.text(given) or ""
    if not knob.secret:
        return text
    if "://" not in text:
        return "***" if text else ""
    return re.sub(r"password=[^&]*", "password=***", re.sub(r"//.*@", "//***@", text))
