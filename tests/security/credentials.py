"""Real credentials for the tests, and a clock that they can turn."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from api.settings import Settings, read
from schema.engine import operations
from schema.engine.database import Directory
from schema.engine.faces import create_face
from schema.engine.policy import Actor
from schema.engine.selection import Scalar, Selection
from schema.engine.shape import shape
from schema.models import Key

SECRET = "a secret of our own, of 32 bytes and more"
ADMIN = Actor(roles=frozenset({"admin"}))
KEY = shape(Key)


def production(database: Path | str, **more: str) -> Settings:
    """The settings of production, in which nobody is let in without a credential."""
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    return read({"TANDEM_ENV": "production", "DATABASE_URL": url, "SECRET_KEY": SECRET, **more})


async def new_key(directory: Directory, role: str, **more: Any) -> str:
    """A key as it is shown once."""
    data = create_face(KEY).read({"name": role, "role": role, **more})
    _, found = await operations.create(directory.work(ADMIN), KEY, data, Selection((("id", Scalar("id")),)))
    assert found.once
    return found.once


def key(database: Path, role: str, **more: Any) -> str:
    """The same, from outside an event loop."""

    async def make() -> str:
        async with Directory(str(database)) as directory:
            return await new_key(directory, role, **more)

    return asyncio.run(make())


def claims(**more: Any) -> dict[str, Any]:
    """Those of a good token, but for what is said otherwise; what is None is left out."""
    made = {"sub": "ext-Ada", "aud": "tandem", "exp": int(time.time()) + 86_400, **more}
    return {name: value for name, value in made.items() if value is not None}


def token(secret: str = SECRET, headers: dict[str, Any] | None = None, **more: Any) -> str:
    """A token of ours."""
    return jwt.encode(claims(**more), secret, "HS256", headers=headers)


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


def id_of(shown: str) -> str:
    """The id of a key, as the directory spells it."""
    id = shown.split("_", 2)[1]
    return "-".join((id[:8], id[8:12], id[12:16], id[16:20], id[20:]))


@dataclass
class Clock:
    """Stands in for the module `time`: as late as it is, and as much later as it is turned."""

    ahead: float = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def time(self) -> float:
        return time.time() + self.ahead
