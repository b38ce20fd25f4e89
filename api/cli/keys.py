"""`keys`: make, list and revoke API keys, on the database itself: the way to the first one, and round a locked door."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from api.cli.migrate import prepare
from api.cli.show import WIDE
from api.cli.terminal import plainly, warn
from api.settings import read
from schema.engine.model import input_models
from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations import records
from schema.engine.operations.directory import Directory, UnitOfWork
from schema.engine.query.selection import Items, ListSelection, Page, Scalar, Selection
from schema.models import Key

KEY = resource_of(Key)
WHOLE = Selection(tuple((field.name, Scalar(field.name)) for field in KEY.readable_fields))
OPERATOR = Actor(roles=frozenset({"admin"}), name="command line")
SHOWN = ("id", "name", "role", "scopes", "expires_at", "rate", "active")
SPANS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
MOST_PAGES = 100
Done = TypeVar("Done")

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    role: Annotated[str, typer.Option(help="What it may do: reader, editor or admin.")],
    name: Annotated[str, typer.Option(help="What it is for.")],
    expires: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long it is good: 12h, 90d or 4w; until revoked by default.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What of its role it is kept to: read, write, users:read …; repeatable."),
    ] = None,
    rate: Annotated[int | None, typer.Option(help="Points a minute that it may spend.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the key and nothing else.")] = False,
) -> None:
    """Make a key, and show it this once."""
    given = {"name": name, "role": role, "scopes": " ".join(scope) if scope else None, "rate": rate}
    if expires is not None:
        given["expires_at"] = _moment(expires)

    async def make(unit_of_work: UnitOfWork) -> str:
        data = input_models.create_input(KEY).read(
            {field: value for field, value in given.items() if value is not None}
        )
        _, found = await records.create(unit_of_work, KEY, data, WHOLE)
        return str(found.shown_once)

    made = _done(make)
    if not quiet:
        warn(f"The key {name!r} ({role}). It is shown this once: keep it where only its user finds it.")
    print(made)


@app.command("list")
def list_() -> None:
    """List all keys, without their secrets."""
    table = Table(*SHOWN, box=None, pad_edge=False, header_style="", padding=(0, 2, 0, 0))
    for row in _done(_all):
        table.add_row(*("" if row[name] is None else str(row[name]) for name in SHOWN))
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=False)
    console.width = console.width if console.is_terminal else WIDE
    console.print(table)


@app.command()
def revoke(id: Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")]) -> None:
    """Switch a key off for good. Whoever serves the database turns it away within five seconds."""

    async def switch_off(unit_of_work: UnitOfWork) -> None:
        await records.call_action(unit_of_work, KEY, KEY.actions["revoke"], id.strip().lower(), {}, WHOLE)

    _done(switch_off)
    warn(f"The key {id} is revoked.")


async def _all(unit_of_work: UnitOfWork) -> list[dict[str, Any]]:
    """All keys: as many as pages of a hundred can bring."""
    last, rows = "", list[dict[str, Any]]()
    page = ListSelection((("items", Items(WHOLE)),), Page("size"))
    later = ListSelection((("items", Items(WHOLE)),), Page("size", after="after"))
    for _ in range(MOST_PAGES):
        asked = (later, {"size": 100, "after_0": last}) if last else (page, {"size": 100})
        found = json.loads((await records.find(unit_of_work, KEY, *asked)).json)["items"]
        rows += found
        if len(found) < 100:
            break
        last = found[-1]["id"]
    return rows


def _done(deed: Callable[[UnitOfWork], Awaitable[Done]]) -> Done:
    """What comes of it, done by whoever may start programs here."""

    async def run(path: str) -> Done:
        async with Directory(path) as directory:
            return await deed(directory.unit_of_work(OPERATOR))

    with plainly():
        settings = read()
        prepare(settings)
        return asyncio.run(run(settings.database))
    raise AssertionError("`plainly` ends the program where something is wrong")


def _moment(span: str) -> str:
    """The moment that lies so far ahead."""
    found = re.fullmatch(r"([1-9]\d{0,4})([hdw])", span)
    if found is None:
        raise typer.BadParameter(f"{span!r} is no span: like 12h, 90d or 4w", param_hint="--expires")
    return (datetime.now(UTC) + int(found[1]) * SPANS[found[2]]).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
