"""What happens as the tables grow: the same requests of ten thousand users, of a hundred thousand, of a million.

Every question is asked of the service for its time, and of the database for its effort; `verdict.py` judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from time import perf_counter

from benchmarks import environments, servers
from benchmarks.acquaintance import answer
from benchmarks.effort import efforts
from benchmarks.environments import HERE, Unavailable
from benchmarks.people import Size
from benchmarks.questions import Question, questions
from benchmarks.roster import PEERS
from benchmarks.servers import Server
from benchmarks.stores import Store
from benchmarks.verdict import Cost, Found, growing, report
from benchmarks.workloads import NUMBER, Ask

SIZES = tuple(Size(10**power) for power in (4, 5, 6, 7))
ROUNDS, LONGEST = 30, 1.0
PATIENCE = 60


def run(sizes: Sequence[Size], store: Store) -> list[str]:
    """Measure each size, print the table, keep it, and give what grows."""
    found = {size: _measured(size, store) for size in sizes}
    page = report(found, store.system)
    path = HERE / "results" / ("growth.md" if store.system == "sqlite" else "growth-postgres.md")
    path.parent.mkdir(exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(f"\n{page}\nWritten: {path.relative_to(HERE.parent)}")
    return growing(found, store.system)


def _measured(size: Size, store: Store) -> Found:
    """Every question of a directory of one size."""
    (peer,) = (it for it in PEERS if it.name == "tandem")
    with store.copied("tandem", size) as database:
        asked = list(questions(size, database))
        effort = efforts(database, asked)
        with servers.running(peer, environments.prepare(peer), database) as server:
            times = dict(_timed(server, asked))
    print(f"{size.users:,} users: {len(asked)} questions asked", flush=True)
    return {question.name: Cost(times[question.name], effort[question.name]) for question in asked}


def _timed(server: Server, asked: Sequence[Question]) -> Iterator[tuple[str, float]]:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        for question in asked:
            yield question.name, _median(server, connection, question)


def _median(server: Server, connection: HTTPConnection, question: Question) -> float:
    """Asked one after another, for a second at most."""
    times: list[float] = []
    until = perf_counter() + LONGEST
    for number in range(ROUNDS):
        ask = question.asks[number % len(question.asks)]
        body = ask.body.replace(NUMBER.encode(), b"%010d" % (number + 1))
        began = perf_counter()
        got = answer(connection, Ask(ask.method, ask.path, body), server.peer)
        times.append(perf_counter() - began)
        if got.status >= 400:
            raise Unavailable(f"{ask.method} {ask.path} is answered with {got.status}: {got.body[:200]!r}")
        if perf_counter() > until:
            break
    return sorted(times)[len(times) // 2] * 1000
