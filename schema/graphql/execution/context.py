"""What a resolver is given with each operation: who asks, the directory, and the answers worked out beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field

from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory, UnitOfWork
from schema.graphql.execution.selection_builder import Details, Operation


@dataclass(slots=True)
class Context:
    """One operation's surroundings. A resolver of one's own finds it as `info.context`."""

    directory: Directory
    actor: Actor
    operation: Operation
    roots: dict[str, Details]
    most_records: int
    answers: dict[str, bytes | Exception] = field(default_factory=dict)
    kinds: dict[str, list[str | None]] = field(default_factory=dict)

    @property
    def unit_of_work(self) -> UnitOfWork:
        """A transaction of the actor's own."""
        return self.directory.unit_of_work(self.actor)
