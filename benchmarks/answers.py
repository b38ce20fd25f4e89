"""Whether all peers answer alike: what is measured has to be the same work.

An answer is brought into a form in which only what matters is left: cursors are there or not, connections are lists,
ids and times of new records are well formed, drawn rows are rows that exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from benchmarks import people

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NEW = {"id": ID, "created_at": MOMENT, "updated_at": MOMENT}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; its size is that of head and body."""

    status: int
    kind: str
    body: bytes
    size: int = 0


def normal(workload: str, answer: Answer) -> Any:
    """The answer but for what may differ between peers; one that cannot be read is told as such."""
    try:
        return [answer.status, answer.kind.partition(";")[0], READERS.get(workload, _json)(answer.body)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [answer.status, f"cannot be read: {error!r}", answer.body[:200].decode(errors="replace")]


def difference(expected: Any, found: Any, where: str = "") -> str | None:
    """The first thing in which two normal forms differ, as a sentence."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            if key not in expected or key not in found:
                return f"{where}/{key} is {'missing' if key in expected else 'too much'}"
            if told := difference(expected[key], found[key], f"{where}/{key}"):
                return told
        return None
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{where} has {len(found)} items, not {len(expected)}"
        pairs = enumerate(zip(expected, found, strict=True))
        return next((told for place, pair in pairs if (told := difference(*pair, f"{where}/{place}"))), None)
    same = expected == found and isinstance(expected, bool) == isinstance(found, bool)
    return None if same else f"{where or 'it'} is {found!r:.120}, not {expected!r:.120}"


def _json(body: bytes) -> Any:
    return json.loads(body)


def _page(body: bytes) -> Any:
    found = json.loads(body)
    return {**found, "next": found["next"] is not None}


def _new(body: bytes) -> Any:
    found = json.loads(body)
    return {**found, **{name: bool(form.fullmatch(found[name])) for name, form in NEW.items()}}


def _drawn(body: bytes) -> Any:
    """Drawn rows: how many, and whether each is as it was made."""
    rows = json.loads(body)
    return [row == {"id": row["id"], "randomNumber": people.number_of(row["id"])} for row in rows]


def _changed(body: bytes) -> Any:
    """Changed rows: how many, all different, and whether each is a row with a number in bounds."""
    rows = json.loads(body)
    bounds = range(1, people.NUMBERS + 1)
    fine = [row.keys() == {"id", "randomNumber"} and all(value in bounds for value in row.values()) for row in rows]
    return [*fine, len({row["id"] for row in rows}) == len(rows)]


def _graphql(body: bytes) -> Any:
    return _plain(json.loads(body))


def _plain(value: Any) -> Any:
    """GraphQL without its connections: `{"nodes": […]}` is the list, and a cursor is there or not."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"nodes"}:
        return _plain(value["nodes"])
    made = {key: _plain(item) for key, item in value.items()}
    return {**made, "endCursor": made["endCursor"] is not None} if "endCursor" in made else made


class _Cells(HTMLParser):
    """The texts of a table's cells."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag in ("td", "th")
        if self._inside:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def _table(body: bytes) -> Any:
    reader = _Cells()
    reader.feed(body.decode())
    return reader.cells


def _text(body: bytes) -> Any:
    return body.decode()


READERS: dict[str, Callable[[bytes], Any]] = {
    "plaintext": _text,
    "list": _page,
    "create": _new,
    "queries": _drawn,
    "updates": _changed,
    "fortunes": _table,
    "graphql-one": _graphql,
    "graphql-list": _graphql,
    "graphql-nested": _graphql,
}
