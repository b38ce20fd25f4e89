"""Whether a PostgreSQL is well, as `doctor.py` has it for a file: its server, its tables, and how it is used.

It changes nothing: every look is a read-only transaction with a limit of time, and of large tables it takes a sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial

from schema.engine.errors import DirectoryError
from schema.engine.place import name_of, server_at
from schema.engine.server import Connection, connect, meaning
from schema.engine.shape import Shape
from schema.upkeep import rows, server, tables
from schema.upkeep.finding import Finding

SECONDS = 60.0  # that a look may take

Look = Callable[[str, Connection], Awaitable[Finding]]


def examine(url: str, shapes: Sequence[Shape], used: server.Used) -> Iterator[Finding]:
    """Everything there is to find."""
    found = asyncio.run(_gathered(url, shapes, used))
    yield from found
    if len(found) > 1:
        yield tables.drifted(url)


async def _gathered(url: str, shapes: Sequence[Shape], used: server.Used) -> list[Finding]:
    try:
        connection = await connect(server_at(url), SECONDS)
    except DirectoryError as error:
        return [Finding("server", f"{name_of(url)}: {error.detail}", "see to DATABASE_URL, and to the server itself")]
    try:
        looks: dict[str, Look] = {
            "server": partial(server.server, url=url),
            "text": tables.text,
            "search": tables.search,
            "migration": tables.migration,
            "settings": server.settings,
            "limits": partial(server.limits, pooled=server_at(url).pooled),
            "connections": partial(server.connections, used=used),
            "indexes": tables.indexes,
            "constraints": tables.constraints,
            "cleaning": server.cleaning,
            "checks": rows.checks,
            "references": rows.references,
            **{f"keys of {made.plural}": partial(rows.keys, made=made) for made in shapes},
        }
        found = [finding async for finding in _each(looks, connection)]
    finally:
        connection.terminate()
    return [*found, await server.replica("replica", used.replica)] if used.replica else found


async def _each(looks: dict[str, Look], connection: Connection) -> AsyncIterator[Finding]:
    for what, look in looks.items():
        try:
            async with connection.transaction(readonly=True):
                yield await look(what, connection)
        except Exception as error:  # That it cannot be looked at is a finding as well.
            said = getattr(meaning(error), "detail", None) or str(error)
            yield Finding(what, f"it could not be looked at: {said}", "see to what is amiss above, then look again")
