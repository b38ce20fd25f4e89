"""Pagination: from the text of a page, as the database joined it, to the JSON of the response.

SQL writes a page's JSON alone where it can. Where cursors or page information are needed, it sends columns instead,
joined by control characters: `PageLayout` says which, and a `PageEncoder` splits them again and writes the JSON,
column by column rather than row by row.

    <total> 1 <more before> 1 <more after> 1 <keys of row 1> 1 <keys of row 2> … 28 <row 1, column 1> 1 …
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from schema.engine.query.cursors import ListHash, Signer, encode_cursor
from schema.engine.query.selection import Constant, Cursor, Items, ListSelection, NextCursor, PageInfo, Total
from schema.engine.sql.dialect import Expression
from schema.engine.sql.json_text import Placeholder
from schema.engine.sql.statement import Values

Encoder = Callable[[bytes, Values, Signer], bytes]
Columns = Sequence[Expression | Placeholder]

# ASCII's file separator, between a page's head and its rows; the levels' separators count up from 0.
HEAD = 28
_HEAD = bytes([HEAD])


@dataclass(frozen=True, slots=True, eq=False)
class EncodedColumn(Placeholder):
    """A gap that is filled with what `encode` makes of the column."""

    encode: Encoder


@dataclass(frozen=True, slots=True, eq=False)
class CursorColumn(Placeholder):
    """A gap that is filled with the row's cursor."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """The columns of a page's text: first what concerns the list, then the rows' sort keys, then each row's items.

    `before` and `after`: whether there are rows beyond the cursors that the page lies between. `head` counts the
    columns before the keys, `widths` those of each item in a row.
    """

    total: bool
    before: bool
    after: bool
    keyed: bool
    items: tuple[Columns, ...]
    head: int = field(init=False)
    widths: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        widths = tuple(sum(not isinstance(column, CursorColumn) for column in columns) for columns in self.items)
        object.__setattr__(self, "head", self.total + self.before + self.after)
        object.__setattr__(self, "widths", widths)

    @property
    def rows_are_json(self) -> bool:
        """Whether each row is one column, complete as it is."""
        return self.widths == (1,) and len(self.items[0]) == 1 and not isinstance(self.items[0][0], Placeholder)


def page_layout(selection: ListSelection, items: Sequence[Columns]) -> PageLayout:
    """The columns that a list's members need."""
    sources = [source for _, source in selection.members]
    info = [name for source in sources if isinstance(source, PageInfo) for _, name in source.members]
    previous = selection.around or "has_previous" in info
    following = selection.around or "has_next" in info or any(isinstance(source, NextCursor) for source in sources)
    shows_cursors = any(
        isinstance(member, Cursor)
        for source in sources
        if isinstance(source, Items)
        for _, member in source.item.members
    )
    return PageLayout(
        total=any(isinstance(source, Total) for source in sources),
        before=previous and selection.page.after is not None,
        after=following and selection.page.before is not None,
        keyed=shows_cursors or following or previous or "start" in info or "end" in info or not items,
        items=tuple(items),
    )


@dataclass(frozen=True, slots=True)
class RowKeys:
    """The sort keys of a page's rows, and what signs their cursors; a record alone has neither."""

    rows: Sequence[bytes] = ()
    list_hash: ListHash | None = None

    def json_cursors(self) -> list[bytes]:
        return [b'"%b"' % encode_cursor(key, self.list_hash) for key in self.rows] if self.list_hash else []


@dataclass(frozen=True, slots=True)
class PageContent:
    """A page taken apart: its lists as JSON, and what surrounds them."""

    lists: Sequence[bytes]
    keys: RowKeys
    total: bytes
    has_next: bool
    has_previous: bool

    def cursor(self, row_index: int) -> bytes | None:
        """The cursor of the first (0) or the last (-1) row."""
        return encode_cursor(self.keys.rows[row_index], self.keys.list_hash) if self.keys.list_hash else None


@dataclass(frozen=True, slots=True)
class PageEncoder:
    model: str
    selection: ListSelection
    layout: PageLayout
    separator: bytes

    def __call__(self, raw: bytes, values: Values, signer: Signer) -> bytes:
        return self.json(self.page_content(raw, values, signer))

    def json(self, page: PageContent) -> bytes:
        """The page as the selection's members."""
        lists = iter(page.lists)
        parts = [b'"%b":%b' % (key.encode(), _member(source, page, lists)) for key, source in self.selection.members]
        return b"{%b}" % b",".join(parts)

    def page_content(self, raw: bytes, values: Values, signer: Signer) -> PageContent:
        """The page without the one row beyond it, which shows that there are more."""
        layout, selection, backward = self.layout, self.selection, self.selection.page.backward
        head, _, rows = raw.partition(_HEAD) if layout.head or layout.keyed else (b"", b"", raw)
        parts = head.split(self.separator) if head else []
        known, keys, size = iter(parts[: layout.head]), parts[layout.head :], values[selection.page.size]
        total = next(known) if layout.total else b""
        before = layout.before and next(known) == b"1"
        after = layout.after and next(known) == b"1"
        more = len(keys) > size
        keys = keys[:size][::-1] if backward else keys[:size]
        # Without rows there are no cursors, and a signer without a secret is good enough.
        list_hash = (
            signer.list_hash(self.model, selection.relation, selection.order, selection.where, values) if keys else None
        )
        row_keys = RowKeys(keys, list_hash)
        if layout.rows_are_json and layout.keyed and not backward:
            lists = [self._json_rows(rows, more)]
        else:
            lists = list(self._lists(rows, row_keys, values, signer))
        return PageContent(lists, row_keys, total, after or (more and not backward), before or (more and backward))

    def _json_rows(self, rows: bytes, more: bool) -> bytes:
        """The only list of a page whose rows are JSON as they are."""
        kept = rows[: max(rows.rfind(self.separator), 0)] if more else rows
        return b"[%b]" % kept.replace(self.separator, b",")

    def _lists(self, rows: bytes, keys: RowKeys, values: Values, signer: Signer) -> Iterator[bytes]:
        """The lists of a page, column by column."""
        width, start, size = sum(self.layout.widths), 0, values[self.selection.page.size]
        parts = rows.split(self.separator) if rows else []
        columns = [parts[number : size * width : width] for number in range(width)]
        if self.selection.page.backward:
            columns = [column[::-1] for column in columns]
        for pieces, item_width in zip(self.layout.items, self.layout.widths, strict=True):
            encoded = _encode_columns(pieces, columns[start : start + item_width], keys, values, signer)
            start += item_width
            texts = encoded[0] if len(encoded) == 1 else map(b"".join, zip(*encoded, strict=True))
            yield b"[%b]" % b",".join(texts)


@dataclass(frozen=True, slots=True)
class RecordEncoder:
    """Encodes the text of a record with placeholders as JSON; an empty text is no record, `null`."""

    columns: Columns
    separator: bytes

    def __call__(self, raw: bytes, values: Values, signer: Signer) -> bytes:
        parts = [[part] for part in raw.split(self.separator)]
        if not raw:
            return b"null"
        return b"".join(column[0] for column in _encode_columns(self.columns, parts, RowKeys(), values, signer))


def _encode_columns(
    columns: Columns, parts: Sequence[Sequence[bytes]], keys: RowKeys, values: Values, signer: Signer
) -> list[Sequence[bytes]]:
    sent = iter(parts)
    encoded: list[Sequence[bytes]] = []
    for column in columns:
        if isinstance(column, CursorColumn):
            encoded.append(keys.json_cursors())
        elif isinstance(column, EncodedColumn):
            encoded.append([column.encode(text, values, signer) for text in next(sent)])
        else:
            encoded.append(next(sent))
    return encoded


def _member(
    source: Items | Total | NextCursor | PageInfo | Constant, page: PageContent, lists: Iterator[bytes]
) -> bytes:
    match source:
        case Items():
            return next(lists)
        case Total():
            return page.total
        case NextCursor():
            return _json_cursor(page.cursor(-1) if page.has_next else None)
        case Constant():
            return source.json.encode()
        case PageInfo():
            return b"{%b}" % b",".join(
                b'"%b":%b' % (key.encode(), _page_info(name, page)) for key, name in source.members
            )


def _page_info(name: str | Constant, page: PageContent) -> bytes:
    if isinstance(name, Constant):
        return name.json.encode()
    if name in ("start", "end"):
        return _json_cursor(page.cursor(0 if name == "start" else -1))
    return b"true" if (page.has_next if name == "has_next" else page.has_previous) else b"false"


def _json_cursor(cursor: bytes | None) -> bytes:
    return b"null" if cursor is None else b'"%b"' % cursor
