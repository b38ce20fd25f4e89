"""What the text of a page becomes: items, totals, cursors, and what lies round the page.

`Layout` says which columns the database joined into the text; a `PageFinish` splits it again and writes the JSON,
column by column rather than row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from schema.engine import cursors
from schema.engine.selection import Branch, Constant, Cursor, Info, Next, Rows, Total, Values
from schema.engine.text import Encoder, Expression, Hole, Place

Columns = Sequence[Expression | Hole | Place]


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a page's text: what is known of the list as a whole, then of each row its key and its items.

    `before` and `after` tell whether there are rows beyond the cursors that the page lies between.
    """

    total: bool
    before: bool
    after: bool
    keyed: bool
    items: tuple[Columns, ...]
    head: int = field(init=False)
    widths: tuple[int, ...] = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        """Count once how many columns come before the rows, each item takes in a row, and a row has in all."""
        widths = tuple(sum(not isinstance(column, Place) for column in columns) for columns in self.items)
        object.__setattr__(self, "head", self.total + self.before + self.after)
        object.__setattr__(self, "widths", widths)
        object.__setattr__(self, "width", self.keyed + sum(widths))


@dataclass(frozen=True, slots=True)
class Stretch:
    """A page, taken apart."""

    columns: list[list[bytes]]
    keys: list[bytes]
    total: bytes
    has_next: bool
    has_previous: bool
    seal: int

    def cursor(self, place: int) -> bytes | None:
        """The cursor of the first (0) or the last (-1) row."""
        return cursors.make(self.keys[place], self.seal) if self.keys else None


def layout(branch: Branch, items: Sequence[Columns]) -> Layout:
    """The columns that a branch needs."""
    wanted = [name for _, source in branch.picks if isinstance(source, Info) for _, name in source.picks]
    previous = branch.around or "has_previous" in wanted
    following = branch.around or "has_next" in wanted or any(isinstance(it, Next) for _, it in branch.picks)
    cursor = any(
        isinstance(source, Cursor) for _, it in branch.picks if isinstance(it, Rows) for _, source in it.item.picks
    )
    keyed = cursor or following or previous or "start" in wanted or "end" in wanted or not items
    return Layout(
        total=any(isinstance(source, Total) for _, source in branch.picks),
        before=previous and branch.page.after is not None,
        after=following and branch.page.before is not None,
        keyed=keyed,
        items=tuple(items),
    )


@dataclass(frozen=True, slots=True)
class PageFinish:
    """From the text of a page to its JSON."""

    model: str
    branch: Branch
    layout: Layout
    separator: bytes

    def __call__(self, raw: bytes, values: Values) -> bytes:
        """The JSON alone."""
        return self.json(self.stretch(raw, values), values)

    def json(self, page: Stretch, values: Values) -> bytes:
        """The page as the branch's picks want it."""
        lists = self._lists(page, values)
        members = [b'"%b":%b' % (key.encode(), _member(source, page, lists)) for key, source in self.branch.picks]
        return b"{%b}" % b",".join(members)

    def stretch(self, raw: bytes, values: Values) -> Stretch:
        """The page, without the row too many that told whether there are more."""
        layout, branch, size = self.layout, self.branch, values[self.branch.page.size]
        parts = raw.split(self.separator) if raw else []
        known, width, start = iter(parts[: layout.head]), layout.width, layout.head
        more = len(parts) - start > size * width
        end = start + size * width
        columns = [parts[start + number : end : width] for number in range(width)]
        backward = branch.page.backward
        if backward:
            columns = [column[::-1] for column in columns]
        total = next(known) if layout.total else b""
        before = layout.before and next(known) == b"1"
        after = layout.after and next(known) == b"1"
        keys = columns.pop(0) if layout.keyed else []
        seal = cursors.seal(self.model, branch.relation, branch.order, branch.where, values)
        return Stretch(columns, keys, total, after or (more and not backward), before or (more and backward), seal)

    def _lists(self, page: Stretch, values: Values) -> Iterator[bytes]:
        start = 0
        for columns, width in zip(self.layout.items, self.layout.widths, strict=True):
            taken = filled(columns, page.columns[start : start + width], page.keys, page.seal, values)
            start += width
            texts = taken[0] if len(taken) == 1 else map(b"".join, zip(*taken, strict=True))
            yield b"[%b]" % b",".join(texts)


@dataclass(frozen=True, slots=True)
class RecordFinish:
    """From the text of a record with holes to its JSON; no text is no record."""

    columns: Columns
    separator: bytes

    def __call__(self, raw: bytes, values: Values) -> bytes:
        """The JSON alone."""
        parts = [[part] for part in raw.split(self.separator)]
        return b"".join(column[0] for column in filled(self.columns, parts, [], 0, values)) if raw else b"null"


def filled(
    columns: Columns, parts: Sequence[Sequence[bytes]], keys: Sequence[bytes], seal: int, values: Values
) -> list[Sequence[bytes]]:
    """Some rows' columns as JSON: holes encoded, cursors made."""
    given = iter(parts)
    made: list[Sequence[bytes]] = []
    for column in columns:
        if isinstance(column, Place):
            made.append([b'"%b"' % cursors.make(key, seal) for key in keys])
        elif isinstance(column, Hole):
            made.append(_encoded(column.encode, next(given), values))
        else:
            made.append(next(given))
    return made


def _encoded(encode: Encoder, texts: Sequence[bytes], values: Values) -> list[bytes]:
    return [encode(text, values) for text in texts]


def _member(source: Rows | Total | Next | Info | Constant, page: Stretch, lists: Iterator[bytes]) -> bytes:
    match source:
        case Rows():
            return next(lists)
        case Total():
            return page.total
        case Next():
            return _quoted(page.cursor(-1) if page.has_next else None)
        case Constant():
            return source.json.encode()
        case Info():
            return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), _info(name, page)) for key, name in source.picks)


def _info(name: str | Constant, page: Stretch) -> bytes:
    if isinstance(name, Constant):
        return name.json.encode()
    if name in ("start", "end"):
        return _quoted(page.cursor(0 if name == "start" else -1))
    return b"true" if (page.has_next if name == "has_next" else page.has_previous) else b"false"


def _quoted(cursor: bytes | None) -> bytes:
    return b"null" if cursor is None else b'"%b"' % cursor
