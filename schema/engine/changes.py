"""What happened to records, told to those who listen, after the commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

ChangeOperation = Literal["created", "updated", "deleted"]
log = logging.getLogger("tandem.events")


@dataclass(frozen=True, slots=True)
class Change:
    """A name and an id, no data: whoever wants to know more reads it again, as themselves.

    `fields` are the names of those that were written; None where that is not known.
    """

    model: str
    id: str
    operation: ChangeOperation
    fields: frozenset[str] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What a job returns: its result, and the changes to tell of once it is committed.

    A `secret` result is shown to the caller and kept nowhere.
    """

    result: Any
    changes: tuple[Change, ...] = ()
    secret: bool = False


@dataclass(slots=True)
class ChangeFeed:
    """Hands each change to every listener, in the order of the commits."""

    listeners: list[Callable[[Change], None]] = field(default_factory=list)

    def publish(self, changes: Iterable[Change]) -> None:
        """Tell of changes that are committed."""
        for change in changes:
            for listener in self.listeners:
                _tell(listener, change)


def _tell(listener: Callable[[Change], None], change: Change) -> None:
    """What is committed has happened, whatever a listener makes of it: its failure is the log's business."""
    try:
        listener(change)
    except Exception:
        log.exception("a listener failed at %s", change)
