"""Changes of records, published to listeners after the commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

ChangeOperation = Literal["created", "updated", "deleted"]
log = logging.getLogger("tandem.changes")


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change of one record. It carries no data: listeners re-read the record as themselves.

    `fields` names the fields that were written; None if that is not known.
    """

    resource: str
    id: str
    operation: ChangeOperation
    fields: frozenset[str] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What a transaction function returns: its result, and the changes to publish after the commit.

    A `secret` result is returned to the caller, and stored nowhere.
    """

    result: Any
    changes: tuple[Change, ...] = ()
    secret: bool = False


@dataclass(slots=True)
class ChangeStream:
    """Passes each change to every listener, in the order of the commits."""

    listeners: list[Callable[[Change], None]] = field(default_factory=list)

    def publish(self, changes: Iterable[Change]) -> None:
        """Pass on committed changes. A listener that fails is logged: the commit cannot be undone."""
        for change in changes:
            for listener in self.listeners:
                try:
                    listener(change)
                except Exception:
                    log.exception("a listener failed at %s", change)
