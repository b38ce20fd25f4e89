"""How many steps a function takes: the lines of Python that are run, and what its calls into C go through."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

# Methods of texts, bytes, lists and tuples that take as long whatever they are called on.
_CHEAP = {"append", "extend", "pop", "popleft", "startswith", "endswith", "isdigit", "isascii"}
# How many members or characters C goes through while Python runs a line.
PER_STEP = 16


@dataclass(frozen=True)
class Scanned:
    """A function that sees what a caller sent, and how that grows: `make(n)` is hostile to it."""

    run: Callable[[Any], object]
    make: Callable[[int], Any]
    least: int = 20


def steps_of(run: Callable[[Any], object], given: Any) -> int:
    """The steps of a call, whatever comes of it: most of what is hostile is refused."""
    steps = 0
    refusals: list[Exception] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        steps += event == "line"
        return trace

    def profile(frame: FrameType, event: str, function: Any) -> None:
        nonlocal steps
        if event == "c_call":
            steps += 1
            owner = getattr(function, "__self__", None)
            if isinstance(owner, str | bytes | list | tuple) and function.__name__ not in _CHEAP:
                steps += len(owner) // PER_STEP

    before = sys.gettrace(), sys.getprofile()
    sys.setprofile(profile)
    sys.settrace(trace)
    try:
        run(given)
    except Exception as error:
        refusals.append(error)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return steps
