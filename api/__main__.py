"""The command line: `python -m api --help`."""

from __future__ import annotations

import sys
from typing import Annotated

from api.server import startup

if __name__ == "__main__":
    # A server starts without what only the other commands need, unless its options are unusual.
    startup.start_directly(sys.argv[1:])

import typer

from api.cli import documents, explanation, keys, maintenance, migration, transfer

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


app.command("migrate")(migration.migrate)
app.command("import")(transfer.import_)
app.command("export")(transfer.export)
app.command("explain")(explanation.explain)
app.add_typer(keys.app, name="keys")
app.command("backup")(maintenance.backup)
app.command("doctor")(maintenance.doctor)
app.command("settings")(documents.settings)
app.command("openapi")(documents.openapi)
app.command("sdl")(documents.sdl)

if __name__ == "__main__":
    app(prog_name="python -m api")
