"""Output to the terminal: tables, progress, messages on stderr, and errors as one sentence with an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from api.settings import InvalidSetting
from schema.engine.errors import DirectoryError
from schema.transfer import ProgressCallback

UNWRAPPED_WIDTH = 240  # for output to a file or a pipe


@contextmanager
def errors_shown() -> Iterator[None]:
    """Turn expected errors into one sentence on stderr: exit 2 for an invalid setting, else exit 1."""
    try:
        yield
    except InvalidSetting as error:
        fail(str(error), 2)
    except DirectoryError as error:
        fail(error.detail)


def fail(message: str, code: int = 1) -> NoReturn:
    """Exit with a message on stderr."""
    warn(message)
    raise typer.Exit(code)


def warn(message: str) -> None:
    """Write a message to stderr."""
    print(message, file=sys.stderr, flush=True)


def print_table(columns: Iterable[str | Column], rows: Iterable[Iterable[str]]) -> None:
    """Print a table; its lines are wrapped on terminals alone."""
    table = Table(*columns, box=None, pad_edge=False, header_style="", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=False)
    console.width = console.width if console.is_terminal else UNWRAPPED_WIDTH
    console.print(table)


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """Show a progress bar on stderr if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda description, share: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def update(description: str, share: float | None) -> None:
            bar.update(task, description=description, completed=share or 0, total=None if share is None else 1)

        yield update
