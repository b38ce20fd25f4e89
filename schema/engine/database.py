"""The only open connections: `Directory`, one for each process, and `Work`, one for each verb."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from schema.engine.errors import DatabaseUnavailable
from schema.engine.events import Change, Feed
from schema.engine.glance import Glance
from schema.engine.lookup import Rows, lookup
from schema.engine.planner import Plan, plan_list, plan_record
from schema.engine.policy import Actor
from schema.engine.selection import Branch, Selection, Values
from schema.engine.shape import Shape
from schema.engine.sqlite import Job, Reader, Step, Watch, Writer, connect

PLANS_KEPT = 1000
READERS = 2
Made = TypeVar("Made")


class Directory:
    """The database, its lanes, and the plans made for it. Open it before use, and close it."""

    def __init__(self, path: str, *, deadline: float = 10.0, watch: Watch | None = None) -> None:
        self.path = path
        self.feed = Feed()
        self.plans = Plans()
        self._glance = Glance(partial(connect, path, watch=watch, query_only=True))
        self._readers = [Reader(path, deadline, watch) for _ in range(READERS)]
        self._writer = Writer(path, deadline, self._tell, watch)

    async def open(self) -> Directory:
        """Connect; `DatabaseUnavailable` where there is no such file."""
        _check_there(self.path)
        for lane in (self._writer, *self._readers):
            await lane.open()
        self._glance.open()
        return self

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        self._glance.close()
        for lane in (*self._readers, self._writer):
            await lane.close()

    async def __aenter__(self) -> Directory:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def work(self, actor: Actor) -> Work:
        """What one actor does in one transaction."""
        return Work(self, actor)

    def _tell(self, written: Written) -> None:
        self.feed.publish(written.changes)

    async def read(self, steps: Sequence[Step]) -> list[Rows]:
        """The rows of each step, all of one moment."""
        rows: list[Rows] | None = self._glance.read(steps)
        if rows is None:
            rows = await min(self._readers, key=Reader.busy).do(steps)
        return rows

    async def write(self, job: Job) -> Any:
        """The job's result, once it is committed."""
        return await self._writer.do(job)


class Plans:
    """Plans by what they are for, the least used forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The plan kept under the key, made if there is none."""
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = make()
            if len(self._kept) > PLANS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found

    def find(self, key: Hashable) -> Any:
        """The plan kept under the key, or none."""
        return self._kept.get(key)

    def __len__(self) -> int:
        return len(self._kept)


def _check_there(path: str) -> None:
    if not Path(path).is_file():
        raise DatabaseUnavailable(f"there is no database at {path}: run the migrations to make it")


@dataclass(frozen=True, slots=True)
class Written:
    """What a job returns: its result, and the changes to tell of once it is committed."""

    result: Any
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """One actor's transaction: the verbs in `operations.py` are given one each."""

    directory: Directory
    actor: Actor

    def list_plan(self, made: Shape, branch: Branch) -> Plan:
        """The plan for a page of a model's records."""
        kind = self.actor.kind
        return self.directory.plans.get((made, branch, kind), lambda: plan_list(made, branch, kind))

    def record_plan(self, made: Shape, asked: Selection | Branch) -> Plan:
        """The plan for one record, or for a list below it."""
        kind = self.actor.kind
        return self.directory.plans.get(("one", made, asked, kind), lambda: plan_record(made, asked, kind))

    def looking_up(self, plan: Plan, values: Values) -> Step:
        """The step of a record's plan, for the record whose id is the value `key`."""
        assert plan.several is not None
        return lookup(plan.statement, plan.several, {**values, "actor": self.actor.id})

    async def read(self, steps: Sequence[Step]) -> list[Rows]:
        """The rows of each step, all of one moment."""
        return await self.directory.read(steps)

    async def write(self, job: Job) -> Any:
        """The result of a job that returns `Written`, once it is committed."""
        written: Written = await self.directory.write(job)
        return written.result
