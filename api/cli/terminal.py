"""What the commands share: how they end when something is wrong, and how they show that they are at work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from api.settings import InvalidSetting
from schema.engine.errors import DirectoryError
from schema.transfer import ProgressCallback


@contextmanager
def plainly() -> Iterator[None]:
    """What is known to go wrong ends in one sentence: exit 2 for a wrong setting, else exit 1."""
    try:
        yield
    except InvalidSetting as error:
        fail(str(error), 2)
    except DirectoryError as error:
        fail(error.detail)


def fail(sentence: str, code: int = 1) -> NoReturn:
    """End with a sentence."""
    warn(sentence)
    raise typer.Exit(code)


def warn(sentence: str) -> None:
    """Say something beside the output."""
    print(sentence, file=sys.stderr, flush=True)


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """A bar that says what is under way, if somebody is looking."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what, share: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("", total=None)

        def tell(what: str, share: float | None) -> None:
            shown.update(task, description=what, completed=share or 0, total=None if share is None else 1)

        yield tell
