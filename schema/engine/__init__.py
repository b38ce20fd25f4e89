"""The engine: it knows no concrete model, reads no environment, and opens no sockets but the database's.

Models, endpoints and resolvers import from here alone: `from schema.engine import Record, Rules, role`. The names are
listed in `exports.py`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schema.engine.exports import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Load the exports on first use (PEP 562).

    So settings and the process that supervises workers can import single modules of the engine without SQLAlchemy.
    """
    # `from schema.engine import errors` asks here first; it names a submodule.
    if name.startswith("__") or find_spec(f"{__name__}.{name}"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.exports"), name)
