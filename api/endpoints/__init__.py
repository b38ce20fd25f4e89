"""Custom REST endpoints: typed functions, one module per topic. Add a new module to `TOPICS`."""

from __future__ import annotations

from types import ModuleType

from api.endpoints import greetings

TOPICS: tuple[ModuleType, ...] = (greetings,)
