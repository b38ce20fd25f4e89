"""`openapi` and `sdl`: the documents of both APIs, without a database."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from api.cli.terminal import errors_shown, fail
from api.settings import Settings, list_settings, read_settings

Output = Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file instead of standard output.")]


def openapi(output: Output = None) -> None:
    """Print the OpenAPI document, as /openapi.json returns it."""
    with errors_shown():
        document = orjson.loads(_openapi_document(_settings_without_database()))
    _write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), output)


def sdl(output: Output = None) -> None:
    """Print the GraphQL schema in SDL."""
    from schema.engine.model.resource import resource_of
    from schema.graphql.schema import make_schema
    from schema.models import MODELS, User

    schema = make_schema([resource_of(model) for model in MODELS], resource_of(User))
    _write(f"{schema.sdl().rstrip()}\n".encode(), output)


def _settings_without_database() -> Settings:
    """Read the settings that the document depends on."""
    environment = {name: value for name, value, _ in list_settings() if name == "TANDEM_ENV"}
    return read_settings({**environment, "DATABASE_URL": "sqlite:///none.db"})


def _openapi_document(settings: Settings) -> bytes:
    from starlette.requests import Request
    from starlette.routing import Route

    from api.app import create_app

    routes = (route for route in create_app(settings).routes if isinstance(route, Route))
    endpoint = next(route.endpoint for route in routes if route.path == "/openapi.json")
    return bytes(asyncio.run(endpoint(Request({"type": "http", "headers": []}))).body)


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
