"""Whether a PostgreSQL is well, as `doctor.py` has it for a file: its server, its tables, and how it is used.

It changes nothing: every look is a read-only transaction with a limit of time, and of large tables it takes a sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial

from schema.engine.database_url import display_name, postgres_address
from schema.engine.errors import DirectoryError
from schema.engine.model.resource import Resource
from schema.engine.postgres.session import Connection, connect, meaning
from schema.maintenance import postgres_rows, postgres_server, postgres_tables
from schema.maintenance.finding import Finding

SECONDS = 60.0  # that a look may take

Look = Callable[[str, Connection], Awaitable[Finding]]


def examine(url: str, resources: Sequence[Resource], used: postgres_server.Used) -> Iterator[Finding]:
    """Everything there is to find."""
    found = asyncio.run(_gathered(url, resources, used))
    yield from found
    if len(found) > 1:
        yield postgres_tables.drifted(url)


async def _gathered(url: str, resources: Sequence[Resource], used: postgres_server.Used) -> list[Finding]:
    try:
        connection = await connect(postgres_address(url), SECONDS)
    except DirectoryError as error:
        return [
            Finding("server", f"{display_name(url)}: {error.detail}", "see to DATABASE_URL, and to the server itself")
        ]
    try:
        looks: dict[str, Look] = {
            "server": partial(postgres_server.server, url=url),
            "text": postgres_tables.text,
            "search": postgres_tables.search,
            "migration": postgres_tables.migration,
            "settings": postgres_server.settings,
            "limits": partial(postgres_server.limits, pooled=postgres_address(url).pooled),
            "connections": partial(postgres_server.connections, used=used),
            "indexes": postgres_tables.indexes,
            "constraints": postgres_tables.constraints,
            "cleaning": postgres_server.cleaning,
            "checks": postgres_rows.checks,
            "references": postgres_rows.references,
            **{f"keys of {resource.plural}": partial(postgres_rows.keys, resource=resource) for resource in resources},
        }
        found = [finding async for finding in _each(looks, connection)]
    finally:
        connection.terminate()
    return [*found, await postgres_server.replica("replica", used.replica)] if used.replica else found


async def _each(looks: dict[str, Look], connection: Connection) -> AsyncIterator[Finding]:
    for what, look in looks.items():
        try:
            async with connection.transaction(readonly=True):
                yield await look(what, connection)
        except Exception as error:  # That it cannot be looked at is a finding as well.
            said = getattr(meaning(error), "detail", None) or str(error)
            yield Finding(what, f"it could not be looked at: {said}", "see to what is amiss above, then look again")
