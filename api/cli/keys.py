"""`keys`: create, list and revoke API keys directly in the database."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import typer

from api.cli.migrate import prepare_database
from api.cli.terminal import errors_shown, print_table, warn
from api.settings import read_settings
from schema.engine.model import input_models
from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations import records
from schema.engine.operations.directory import Directory
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.selection import Items, ListSelection, Page, Scalar, Selection
from schema.models import Key

KEY = resource_of(Key)
ALL_FIELDS = Selection(tuple((field.name, Scalar(field.name)) for field in KEY.readable_fields))
OPERATOR = Actor(roles=frozenset({"admin"}), name="command line")
COLUMNS = ("id", "name", "role", "scopes", "expires_at", "rate", "active")
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
PAGE_SIZE, MAX_PAGES = 100, 100
Result = TypeVar("Result")

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    role: Annotated[str, typer.Option(help="The key's role: reader, editor or admin.")],
    name: Annotated[str, typer.Option(help="A name that says what the key is for.")],
    expires: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Lifetime, such as 12h, 90d or 4w; by default until revoked.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="Limit the key to a scope: read, write, users:read …; repeatable.")
    ] = None,
    rate: Annotated[int | None, typer.Option(help="The key's rate limit, in points a minute.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the key and nothing else.")] = False,
) -> None:
    """Create a key and print it. It cannot be shown again."""
    fields = {"name": name, "role": role, "scopes": " ".join(scope) if scope else None, "rate": rate}
    if expires is not None:
        fields["expires_at"] = _moment_after(expires)

    async def create_key(unit_of_work: UnitOfWork) -> str:
        data = input_models.create_input(KEY).read({name: value for name, value in fields.items() if value is not None})
        _, record = await records.create(unit_of_work, KEY, data, ALL_FIELDS)
        return str(record.shown_once)

    key = _run(create_key)
    if not quiet:
        warn(f"Key {name!r} ({role}). Store it now: it cannot be shown again.")
    print(key)


@app.command("list")
def list_() -> None:
    """List all keys, without their secrets."""
    print_table(COLUMNS, [["" if row[name] is None else str(row[name]) for name in COLUMNS] for row in _run(_all_keys)])


@app.command()
def revoke(id: Annotated[str, typer.Argument(help="The key's id, as shown by `keys list`.")]) -> None:
    """Revoke a key permanently. Running servers refuse it within five seconds."""

    async def revoke_key(unit_of_work: UnitOfWork) -> None:
        await records.call_action(unit_of_work, KEY, KEY.actions["revoke"], id.strip().lower(), {}, ALL_FIELDS)

    _run(revoke_key)
    warn(f"Key {id} is revoked.")


async def _all_keys(unit_of_work: UnitOfWork) -> list[dict[str, Any]]:
    """Read up to 10,000 keys."""
    rows: list[dict[str, Any]] = []
    first_page = ListSelection((("items", Items(ALL_FIELDS)),), Page("size"))
    next_page = ListSelection((("items", Items(ALL_FIELDS)),), Page("size", after="after"))
    for _ in range(MAX_PAGES):
        query = (
            (next_page, {"size": PAGE_SIZE, "after_0": rows[-1]["id"]}) if rows else (first_page, {"size": PAGE_SIZE})
        )
        page = json.loads((await records.find(unit_of_work, KEY, *query)).json)["items"]
        rows += page
        if len(page) < PAGE_SIZE:
            break
    return rows


def _run(function: Callable[[UnitOfWork], Awaitable[Result]]) -> Result:
    """Call a function with a unit of work of an administrator: who can start programs here needs no credential."""

    async def run(database: str) -> Result:
        async with Directory(database) as directory:
            return await function(directory.unit_of_work(OPERATOR))

    with errors_shown():
        settings = read_settings()
        prepare_database(settings)
        return asyncio.run(run(settings.database))
    raise AssertionError("`errors_shown` exits after an error")


def _moment_after(span: str) -> str:
    match = re.fullmatch(r"([1-9]\d{0,4})([hdw])", span)
    if match is None:
        raise typer.BadParameter(f"must be a span such as 12h, 90d or 4w, got {span!r}", param_hint="--expires")
    return (datetime.now(UTC) + int(match[1]) * UNITS[match[2]]).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
