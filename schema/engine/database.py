"""The only open connections: `Directory`, one for each process, and `Work`, one for each verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from schema.engine.connection import Watch, connect
from schema.engine.errors import Damaged, DatabaseUnavailable
from schema.engine.events import Feed
from schema.engine.events import Written as Written
from schema.engine.figures import Histogram, Trips
from schema.engine.glance import Glance
from schema.engine.lookup import Rows, lookup
from schema.engine.planner import Plan, plan_list, plan_record
from schema.engine.plans import Plans
from schema.engine.policy import Actor
from schema.engine.repeats import Repeat, only_once, owner, under_way
from schema.engine.selection import Branch, Selection, Values
from schema.engine.shape import Shape
from schema.engine.sqlite import Job, Reader, Step, Steps, Writer
from schema.engine.statement import compiled

READERS = 2
LATELY = 1.0  # seconds for which a write that failed is taken to say how the next one will end


class Directory:
    """The database, its lanes, and the plans made for it. Open it before use, and close it."""

    def __init__(self, path: str, *, deadline: float = 10.0, watch: Watch | None = None) -> None:
        self.path = path
        self.feed = Feed()
        self.plans = Plans()
        self.glances, self.reads, self.writes = Trips("glance"), Trips("read"), Trips("write")
        self._glance = Glance(path, partial(connect, path, watch=watch, query_only=True))
        self.under_way: set[tuple[str, str]] = set()
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

    def work(self, actor: Actor, repeat: Repeat | None = None) -> Work:
        """What one actor does in one transaction; under a key, if it is to be done once."""
        return Work(self, actor, repeat)

    def _tell(self, written: Written) -> None:
        self.feed.publish(written.changes)

    async def check(self) -> None:
        """`DatabaseUnavailable` unless it can be read and written, as far as that can be told in passing."""
        if any(lane.damaged for lane in (self._writer, *self._readers)):
            raise Damaged("the database is damaged")
        await self.read([("SELECT count(*) FROM sqlite_schema", ())])
        if monotonic() - self._writer.failed < LATELY:
            raise DatabaseUnavailable("the database cannot be written to")
        await self.write(_nothing)

    async def read(self, steps: Sequence[Step]) -> list[Rows]:
        """The rows of each step, all of one moment."""
        began = perf_counter()
        rows: list[Rows] | None = self._glance.read(steps)
        if rows is not None:
            self.glances.note(steps, began)
            return rows
        try:
            return await min(self._readers, key=Reader.busy).do(steps)  # type: ignore[no-any-return]
        finally:
            self.reads.note(steps, began)

    async def write(self, job: Job) -> Any:
        """The job's result, once it is committed."""
        began = perf_counter()
        try:
            return await self._writer.do(job)
        finally:
            self.writes.note(job, began)

    @property
    def waiting(self) -> dict[str, int]:
        """How many errands wait for each of the connections."""
        lanes = {f"reader {number}": lane for number, lane in enumerate(self._readers, 1)}
        return {name: lane.waiting() for name, lane in {**lanes, "writer": self._writer}.items()}

    @property
    def groups(self) -> Histogram:
        """How many writes were committed together."""
        return self._writer.groups


def _nothing() -> Steps:
    """Takes the right to write, and does nothing with it."""
    yield from ()
    return Written(None)


def _check_there(path: str) -> None:
    if not Path(path).is_file():
        raise DatabaseUnavailable(f"there is no database at {path}: run the migrations to make it")


@dataclass(frozen=True, slots=True)
class Work:
    """One actor's transaction: the verbs in `operations.py` are given one each."""

    directory: Directory
    actor: Actor
    repeat: Repeat | None = None

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
        written: Written = await (self.directory.write(job) if self.repeat is None else self._once(job, self.repeat))
        return written.result

    async def _once(self, job: Job, repeat: Repeat) -> Any:
        """The same, if it was not done before; `UnderWay` if it is being done."""
        mark, marks = (owner(self.actor), repeat.key), self.directory.under_way
        if mark in marks:
            raise under_way()
        marks.add(mark)
        try:
            plans = self.directory.plans
            return await self.directory.write(
                only_once(job, repeat, self.actor, lambda it: plans.get(("repeat", it), lambda: compiled(it)))
            )
        finally:
            marks.discard(mark)
