"""How many steps a regular expression takes: a backtracking matcher that counts what it visits.

Python's own matcher cannot be asked how much it worked, and seconds depend on the machine. This one compiles what
`re._parser` reads into instructions and runs them with a stack of alternatives, in the order in which `re` tries them.
`re` skips some starts by its first characters, so it takes no more steps than are counted here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

Text = str | bytes
Span = tuple[int, int]
Instruction = tuple[Any, ...]
Slots = tuple[int, ...]

_REPEATS = {c.MAX_REPEAT: "greedy", c.MIN_REPEAT: "lazy"}
_MOST_COPIES = 2000


class Steps:
    """One regular expression and the steps that its matches have taken so far."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        tree = parser.parse(pattern.pattern, pattern.flags)
        self._flags = tree.state.flags
        self._slots = 2 * tree.state.groups
        self._program = [*self._sequence(tree, self._flags, 0), ("match",)]
        self.taken = 0

    def fullmatch(self, text: Text) -> list[Span]:
        """Where it matches all of the text."""
        return self._spans([self._at(text, 0, len(text))])

    def match(self, text: Text) -> list[Span]:
        """Where it matches at the beginning."""
        return self._spans([self._at(text, 0)])

    def search(self, text: Text) -> list[Span]:
        """The first place where it matches."""
        return self.finditer(text, 1)

    def finditer(self, text: Text, most: int | None = None) -> list[Span]:
        """All places where it matches, as `findall`, `sub` and `split` go through them."""
        found: list[Span] = []
        start = 0
        while start <= len(text) and len(found) != most:
            span = self._at(text, start)
            if span is None:
                start += 1
                continue
            found.append(span)
            start = span[1] + (span[0] == span[1])
        return found

    def _spans(self, found: list[Span | None]) -> list[Span]:
        return [span for span in found if span is not None]

    def _at(self, text: Text, start: int, end: int | None = None) -> Span | None:
        found = self._run(self._program, text, start, (-1,) * (self._slots + 64), end)
        return None if found is None else (start, found[0])

    def _run(
        self, program: Sequence[Instruction], text: Text, start: int, slots: Slots, end: int | None = None
    ) -> tuple[int, Slots] | None:
        """Where a program ends that begins at `start`, and at `end` if that is given."""
        stack = [(0, start, slots)]
        while stack:
            at, position, slots = stack.pop()
            while True:
                self.taken += 1
                name, *given = program[at]
                if name == "match":
                    if end is None or position == end:
                        return position, slots
                    break
                if name == "jump":
                    at += given[0]
                elif name == "split":
                    stack.append((at + given[1], position, slots))
                    at += given[0]
                elif name == "save":
                    slots = (*slots[: given[0]], position, *slots[given[0] + 1 :])
                    at += 1
                elif name == "progress":
                    if slots[given[0]] == position:
                        break
                    at += 1
                else:
                    advanced = self._advanced(name, given, text, position, slots)
                    if advanced is None:
                        break
                    position, slots = advanced
                    at += 1
        return None

    def _advanced(
        self, name: str, given: list[Any], text: Text, position: int, slots: Slots
    ) -> tuple[int, Slots] | None:
        """Where an instruction leads that takes characters or looks at them."""
        if name == "one":
            return (position + 1, slots) if position < len(text) and given[0](_code(text, position)) else None
        if name == "where":
            return (position, slots) if given[0](text, position) else None
        if name == "again":
            low, high = slots[2 * given[0]], slots[2 * given[0] + 1]
            same = low >= 0 and high >= 0 and text[low:high] == text[position : position + high - low]
            return (position + high - low, slots) if same else None
        if name == "atomic":
            return self._run(given[0], text, position, slots)
        program, width, wanted = given
        found = self._run(program, text, position - width, slots) if position >= width else None
        return (position, slots if found is None else found[1]) if (found is not None) == wanted else None

    def _sequence(self, tree: Any, flags: int, depth: int) -> list[Instruction]:
        return [instruction for op, given in tree for instruction in self._node(op, given, flags, depth)]

    def _node(self, op: Any, given: Any, flags: int, depth: int) -> list[Instruction]:
        if op is c.AT:
            return [("where", _place(given, flags))]
        if op in (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN):
            return [("one", _test(op, given, flags))]
        if op is c.BRANCH:
            return self._branch([self._sequence(part, flags, depth) for part in given[1]])
        if op is c.SUBPATTERN:
            group, more, less, tree = given
            inner = self._sequence(tree, (flags | more) & ~less, depth)
            return inner if group is None else [("save", 2 * group), *inner, ("save", 2 * group + 1)]
        if op is c.GROUPREF:
            return [("again", given)]
        if op is c.ATOMIC_GROUP:
            return [("atomic", [*self._sequence(given, flags, depth), ("match",)])]
        if op in (c.ASSERT, c.ASSERT_NOT):
            direction, tree = given
            program = [*self._sequence(tree, flags, depth), ("match",)]
            return [("look", program, tree.getwidth()[0] if direction < 0 else 0, op is c.ASSERT)]
        if op is c.POSSESSIVE_REPEAT:
            return [("atomic", [*self._repeat(given, flags, "greedy", depth), ("match",)])]
        if op in _REPEATS:
            return self._repeat(given, flags, _REPEATS[op], depth)
        raise NotImplementedError(f"{op} is not known to this matcher")

    def _branch(self, parts: list[list[Instruction]]) -> list[Instruction]:
        *before, made = parts
        for part in reversed(before):
            made = [("split", 1, len(part) + 2), *part, ("jump", len(made) + 1), *made]
        return made

    def _repeat(self, given: Any, flags: int, manner: str, depth: int) -> list[Instruction]:
        least, most, tree = given
        body = self._sequence(tree, flags, depth + 1)
        made: list[Instruction] = body * least
        if most is c.MAXREPEAT:
            if tree.getwidth()[0] == 0:
                slot = self._slots + depth
                body = [("save", slot), *body, ("progress", slot)]
            ways = (1, len(body) + 2) if manner == "greedy" else (len(body) + 2, 1)
            return [*made, ("split", *ways), *body, ("jump", -len(body) - 1)]
        assert (most - least) * len(body) <= _MOST_COPIES, "so many copies would hide a growth"
        for left in range(most - least, 0, -1):
            out = left * (len(body) + 1)
            made += [("split", *((1, out) if manner == "greedy" else (out, 1))), *body]
        return made


def _code(text: Text, position: int) -> int:
    one = text[position]
    return one if isinstance(one, int) else ord(one)


def _test(op: Any, given: Any, flags: int) -> Callable[[int], bool]:
    """Whether a character is one that a node takes."""
    if op is c.ANY:
        return (lambda code: True) if flags & re.DOTALL else lambda code: code != 10
    if op is c.IN:
        tests = [_test(kind, value, flags) for kind, value in given if kind is not c.NEGATE]
        wanted = given[0][0] is not c.NEGATE
        return lambda code: any(test(code) for test in tests) == wanted
    if op is c.RANGE:
        low, high = given
        return lambda code: any(low <= one <= high for one in _cases(code, flags))
    if op is c.CATEGORY:
        return _category(str(given), flags)
    same = op is c.LITERAL
    return lambda code: (given in _cases(code, flags)) == same


def _cases(code: int, flags: int) -> set[int]:
    """A character, and its other cases where these are the same."""
    if not flags & re.IGNORECASE:
        return {code}
    return {code, *(ord(it) for it in (chr(code).lower(), chr(code).upper()) if len(it) == 1)}


def _category(name: str, flags: int) -> Callable[[int], bool]:
    unicode = bool(flags & re.UNICODE) and not flags & re.ASCII
    kinds: dict[str, Callable[[str], bool]] = {
        "DIGIT": lambda one: unicodedata.category(one) == "Nd" if unicode else one in "0123456789",
        "SPACE": lambda one: one.isspace() if unicode else one in " \t\n\r\f\v",
        "WORD": lambda one: one == "_" or (one.isalnum() if unicode else one.isascii() and one.isalnum()),
    }
    wanted = "NOT" not in name
    test = kinds[name.rpartition("_")[2]]
    return lambda code: test(chr(code)) == wanted


def _place(kind: Any, flags: int) -> Callable[[Text, int], bool]:
    """Whether a position is the one that an anchor means."""
    several = bool(flags & re.MULTILINE)
    word = _category("CATEGORY_WORD", flags)

    def ends(text: Text, position: int) -> bool:
        last = position == len(text) or (position == len(text) - 1 and _code(text, position) == 10)
        return last or (several and _code(text, position) == 10)

    def edge(text: Text, position: int) -> bool:
        before = position > 0 and word(_code(text, position - 1))
        return before != (position < len(text) and word(_code(text, position)))

    places: dict[Any, Callable[[Text, int], bool]] = {
        c.AT_BEGINNING: lambda text, at: at == 0 or (several and _code(text, at - 1) == 10),
        c.AT_BEGINNING_STRING: lambda text, at: at == 0,
        c.AT_END: ends,
        c.AT_END_STRING: lambda text, at: at == len(text),
        c.AT_BOUNDARY: edge,
        c.AT_NON_BOUNDARY: lambda text, at: not edge(text, at),
    }
    return places[kind]
