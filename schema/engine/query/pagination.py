"""What the text of a page becomes: items, totals, cursors, and what lies round the page.

`Layout` says which columns the database joined into the text; a `PageFinish` splits it again and writes the JSON,
column by column rather than row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from schema.engine.query import cursors
from schema.engine.query.cursors import ListHash, Signer
from schema.engine.query.selection import Constant, Cursor, Items, ListSelection, NextCursor, PageInfo, Total
from schema.engine.sql.json_text import Encoder, Expression, Hole, Place
from schema.engine.sql.statement import Values

Columns = Sequence[Expression | Hole | Place]


# What parts the head of a page's text from its rows: ASCII's file separator, since levels take the first characters.
HEAD = 28
_HEAD = bytes([HEAD])


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a page's text: what is known of the list as a whole, the rows' keys, then each row's items.

    `before` and `after` tell whether there are rows beyond the cursors that the page lies between.
    """

    total: bool
    before: bool
    after: bool
    keyed: bool
    items: tuple[Columns, ...]
    head: int = field(init=False)
    widths: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Count once how many columns the head has before the keys, and each item in a row."""
        widths = tuple(sum(not isinstance(column, Place) for column in columns) for columns in self.items)
        object.__setattr__(self, "head", self.total + self.before + self.after)
        object.__setattr__(self, "widths", widths)

    @property
    def plain(self) -> bool:
        """Whether a row is one text, which is JSON as it is."""
        return self.widths == (1,) and len(self.items[0]) == 1 and not isinstance(self.items[0][0], Hole)


@dataclass(frozen=True, slots=True)
class Keys:
    """The sort keys of some rows, and what signs the cursors that are made of them; a record alone has none."""

    rows: Sequence[bytes] = ()
    seal: ListHash | None = None

    def cursors(self) -> list[bytes]:
        """Each row's cursor as JSON."""
        return [b'"%b"' % cursors.encode_cursor(key, self.seal) for key in self.rows] if self.seal else []


@dataclass(frozen=True, slots=True)
class PageContent:
    """A page, taken apart: its lists as JSON, and what else is known of it."""

    lists: Sequence[bytes]
    keys: Keys
    total: bytes
    has_next: bool
    has_previous: bool

    def cursor(self, place: int) -> bytes | None:
        """The cursor of the first (0) or the last (-1) row."""
        return cursors.encode_cursor(self.keys.rows[place], self.keys.seal) if self.keys.seal else None


def layout(branch: ListSelection, items: Sequence[Columns]) -> Layout:
    """The columns that a branch needs."""
    wanted = [name for _, source in branch.picks if isinstance(source, PageInfo) for _, name in source.picks]
    previous = branch.around or "has_previous" in wanted
    following = branch.around or "has_next" in wanted or any(isinstance(it, NextCursor) for _, it in branch.picks)
    cursor = any(
        isinstance(source, Cursor) for _, it in branch.picks if isinstance(it, Items) for _, source in it.item.picks
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
class PageEncoder:
    """From the text of a page to its JSON."""

    model: str
    branch: ListSelection
    layout: Layout
    separator: bytes

    def __call__(self, raw: bytes, values: Values, signer: Signer) -> bytes:
        """The JSON alone."""
        return self.json(self.page_content(raw, values, signer))

    def json(self, page: PageContent) -> bytes:
        """The page as the branch's picks want it."""
        lists = iter(page.lists)
        members = [b'"%b":%b' % (key.encode(), _member(source, page, lists)) for key, source in self.branch.picks]
        return b"{%b}" % b",".join(members)

    def page_content(self, raw: bytes, values: Values, signer: Signer) -> PageContent:
        """The page, without the row too many that told whether there are more."""
        layout, branch, backward = self.layout, self.branch, self.branch.page.backward
        head, _, rows = raw.partition(_HEAD) if layout.head or layout.keyed else (b"", b"", raw)
        parts = head.split(self.separator) if head else []
        known, keys, size = iter(parts[: layout.head]), parts[layout.head :], values[branch.page.size]
        total = next(known) if layout.total else b""
        before = layout.before and next(known) == b"1"
        after = layout.after and next(known) == b"1"
        more = len(keys) > size
        keys = keys[:size][::-1] if backward else keys[:size]
        # Without a row there is no cursor, and nothing to be signed.
        seal = signer.list_hash(self.model, branch.relation, branch.order, branch.where, values) if keys else None
        kept = Keys(keys, seal)
        lists = [self._plain(rows, more)] if self._quick else list(self._lists(rows, kept, values, signer))
        return PageContent(lists, kept, total, after or (more and not backward), before or (more and backward))

    @property
    def _quick(self) -> bool:
        return self.layout.plain and self.layout.keyed and not self.branch.page.backward

    def _plain(self, rows: bytes, more: bool) -> bytes:
        """The one list of a page, as it came."""
        kept = rows[: max(rows.rfind(self.separator), 0)] if more else rows
        return b"[%b]" % kept.replace(self.separator, b",")

    def _lists(self, rows: bytes, keys: Keys, values: Values, signer: Signer) -> Iterator[bytes]:
        """The lists of a page, put together column by column."""
        width, start, size = sum(self.layout.widths), 0, values[self.branch.page.size]
        parts = rows.split(self.separator) if rows else []
        columns = [parts[number : size * width : width] for number in range(width)]
        if self.branch.page.backward:
            columns = [column[::-1] for column in columns]
        for pieces, taken in zip(self.layout.items, self.layout.widths, strict=True):
            made = filled(pieces, columns[start : start + taken], keys, values, signer)
            start += taken
            texts = made[0] if len(made) == 1 else map(b"".join, zip(*made, strict=True))
            yield b"[%b]" % b",".join(texts)


@dataclass(frozen=True, slots=True)
class RecordEncoder:
    """From the text of a record with holes to its JSON; no text is no record."""

    columns: Columns
    separator: bytes

    def __call__(self, raw: bytes, values: Values, signer: Signer) -> bytes:
        """The JSON alone."""
        parts = [[part] for part in raw.split(self.separator)]
        if not raw:
            return b"null"
        return b"".join(column[0] for column in filled(self.columns, parts, Keys(), values, signer))


def filled(
    columns: Columns, parts: Sequence[Sequence[bytes]], keys: Keys, values: Values, signer: Signer
) -> list[Sequence[bytes]]:
    """Some rows' columns as JSON: holes encoded, cursors made."""
    given = iter(parts)
    made: list[Sequence[bytes]] = []
    for column in columns:
        if isinstance(column, Place):
            made.append(keys.cursors())
        elif isinstance(column, Hole):
            made.append(_encoded(column.encode, next(given), values, signer))
        else:
            made.append(next(given))
    return made


def _encoded(encode: Encoder, texts: Sequence[bytes], values: Values, signer: Signer) -> list[bytes]:
    return [encode(text, values, signer) for text in texts]


def _member(
    source: Items | Total | NextCursor | PageInfo | Constant, page: PageContent, lists: Iterator[bytes]
) -> bytes:
    match source:
        case Items():
            return next(lists)
        case Total():
            return page.total
        case NextCursor():
            return _quoted(page.cursor(-1) if page.has_next else None)
        case Constant():
            return source.json.encode()
        case PageInfo():
            return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), _info(name, page)) for key, name in source.picks)


def _info(name: str | Constant, page: PageContent) -> bytes:
    if isinstance(name, Constant):
        return name.json.encode()
    if name in ("start", "end"):
        return _quoted(page.cursor(0 if name == "start" else -1))
    return b"true" if (page.has_next if name == "has_next" else page.has_previous) else b"false"


def _quoted(cursor: bytes | None) -> bytes:
    return b"null" if cursor is None else b'"%b"' % cursor
