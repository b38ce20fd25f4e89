"""Every query that a test sends and that is answered from its plan is run by graphql-core as well, and compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest

from schema.graphql import execution
from schema.graphql.execution import Executor


@dataclass
class Replay:
    """Whether a query is just being run a second time, and how many have been. `off` is for tests that count."""

    off: bool = False
    under_way: int = 0
    count: int = 0

    def quiet(self, watch: Callable[[str], None]) -> Callable[[str], None]:
        """The same watch, which does not hear of what is run a second time, nor of the end of what began there."""
        begun = False

        def hear(statement: str) -> None:
            nonlocal begun
            theirs = bool(self.under_way) or (begun and statement == "COMMIT")
            if theirs and statement in ("BEGIN", "COMMIT", "ROLLBACK"):
                begun = statement == "BEGIN"
            if not theirs:
                watch(statement)

        return hear


REPLAY = Replay()
# Of the request at hand, for several may be under way: whether it is run again, and was answered from its plan.
AGAIN = ContextVar("again", default=False)
WRITTEN = ContextVar("written", default=False)


@contextmanager
def both_ways() -> Iterator[Replay]:
    """As long as this lasts, all executors answer both ways."""
    run, written = Executor.run, execution._written

    def only_once(*given: Any) -> bytes | None:
        answer = None if AGAIN.get() else written(*given)
        WRITTEN.set(answer is not None)
        return answer

    async def run_twice(self: Executor, *given: Any, **more: Any) -> bytes:
        WRITTEN.set(False)
        answer = await run(self, *given, **more)
        if WRITTEN.get() and not AGAIN.get() and not REPLAY.off:
            token = AGAIN.set(True)
            REPLAY.under_way += 1
            try:
                again = await run(self, *given, **more)
            finally:
                REPLAY.under_way -= 1
                AGAIN.reset(token)
            assert ordered(again) == ordered(answer), given[0]
            REPLAY.count += 1
        return answer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(execution, "_written", only_once)
        patched.setattr(Executor, "run", run_twice)
        yield REPLAY


def ordered(answer: bytes) -> Any:
    """JSON in which the order of keys counts."""
    return _listed(json.loads(answer))


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [(key, _listed(item)) for key, item in value.items()]
    return [_listed(item) for item in value] if isinstance(value, list) else value
