"""`settings`, `openapi` and `sdl`: what this service is, on paper. None of them needs a database."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from api.cli.terminal import fail, plainly
from api.settings import InvalidSetting, Settings, listed, read

WIDE = 240  # where nobody looks, lines are not broken for anybody
Output = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it to a file instead.")]


def settings() -> None:
    """List all settings with their present values and meanings. Exit 2 if Tandem cannot start with them."""
    table = Table("name", "value", "meaning", box=None, pad_edge=False, header_style="", padding=(0, 2, 0, 0))
    for row in listed():
        table.add_row(*row)
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=False)
    console.width = console.width if console.is_terminal else WIDE
    console.print(table)
    try:
        read()
    except InvalidSetting as error:
        fail(str(error), 2)


def openapi(output: Output = None) -> None:
    """Print the OpenAPI document, as /openapi.json shows it in the present environment."""
    with plainly():
        document = _document(_without_database())
    _show(orjson.dumps(orjson.loads(document), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), output)


def sdl(output: Output = None) -> None:
    """Print the GraphQL schema."""
    from schema.engine.model.resource import resource_of
    from schema.graphql.schema import make_schema
    from schema.models import MODELS, User

    resource = make_schema([resource_of(model) for model in MODELS], resource_of(User))
    _show(f"{resource.sdl().rstrip()}\n".encode(), output)


def _without_database() -> Settings:
    """The settings of the present environment, as far as the document depends on them."""
    environment = {name: value for name, value, _ in listed() if name == "TANDEM_ENV"}
    return read({**environment, "DATABASE_URL": "sqlite:///none.db"})


def _document(settings: Settings) -> bytes:
    """What `/openapi.json` answers."""
    from starlette.requests import Request
    from starlette.routing import Route

    from api.app import create_app

    routes = (route for route in create_app(settings).routes if isinstance(route, Route))
    show = next(route.endpoint for route in routes if route.path == "/openapi.json")
    return bytes(asyncio.run(show(Request({"type": "http", "headers": []}))).body)


def _show(text: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(text)
        return
    try:
        output.write_bytes(text)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
