"""The command line: `python -m api --help`."""

from __future__ import annotations

import sys

from api import serving as lean

if __name__ == "__main__":
    # A server starts without what only the other commands need, unless its options are unusual.
    lean.start_at_once(sys.argv[1:])

import typer

from api.commands import explaining, keys, migrating, serving, showing, transferring, upkeep

app = typer.Typer(
    name="python -m api",
    help="Tandem: a user directory that a team runs itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serving.serve)
app.command("migrate")(migrating.migrate)
app.command("import")(transferring.import_)
app.command("export")(transferring.export)
app.command("explain")(explaining.explain)
app.add_typer(keys.app, name="keys")
app.command("backup")(upkeep.backup)
app.command("doctor")(upkeep.doctor)
app.command("settings")(showing.settings)
app.command("openapi")(showing.openapi)
app.command("sdl")(showing.sdl)

if __name__ == "__main__":
    app(prog_name="python -m api")
