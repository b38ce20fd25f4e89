"""The command line: `python -m api --help`."""

from __future__ import annotations

import sys
from typing import Annotated

from api.server import startup

if __name__ == "__main__":
    # A server starts without what only the other commands need, unless its options are unusual.
    startup.start_directly(sys.argv[1:])

import typer

from api.cli import explain, import_export, keys, maintenance, migrate, schema_documents, settings

app = typer.Typer(
    name="python -m api",
    help="Tandem, a self-hosted user directory with a REST and a GraphQL API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on, instead of HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port to listen on, instead of PORT.")] = None,
) -> None:
    """Start the server. In development the database is migrated first."""
    raise typer.Exit(startup.start(host, port))


app.command("migrate")(migrate.migrate)
app.command("import")(import_export.import_)
app.command("export")(import_export.export)
app.command("explain")(explain.explain)
app.add_typer(keys.app, name="keys")
app.command("backup")(maintenance.backup)
app.command("doctor")(maintenance.doctor)
app.command("settings")(settings.settings)
app.command("openapi")(schema_documents.openapi)
app.command("sdl")(schema_documents.sdl)

if __name__ == "__main__":
    app(prog_name="python -m api")
