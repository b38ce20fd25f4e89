"""REST that is no model: typed functions, one file a topic. This is their table of contents."""

from __future__ import annotations

from types import ModuleType

from api.endpoints import greetings

TOPICS: tuple[ModuleType, ...] = (greetings,)
