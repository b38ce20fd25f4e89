"""The command line: `python -m api --help`."""

from __future__ import annotations

import sys

from api.server import startup

if __name__ == "__main__":
    # A server starts without what only the other commands need, unless its options are unusual.
    startup.start_directly(sys.argv[1:])

import typer

from api.cli import explain, keys, maintenance, migrate, serve, show, transfer

app = typer.Typer(
    name="python -m api",
    help="Tandem: a user directory that a team runs itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.command("import")(transfer.import_)
app.command("export")(transfer.export)
app.command("explain")(explain.explain)
app.add_typer(keys.app, name="keys")
app.command("backup")(maintenance.backup)
app.command("doctor")(maintenance.doctor)
app.command("settings")(show.settings)
app.command("openapi")(show.openapi)
app.command("sdl")(show.sdl)

if __name__ == "__main__":
    app(prog_name="python -m api")
