"""Normalized responses: peers must do the same work, but may spell some of it differently.

In a normalized response cursors are only present or absent, GraphQL connections are lists, ids and times of new records
are well formed, and randomly drawn rows are rows that exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from benchmarks.data import dataset

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
GENERATED_FIELDS = {"id": ID, "created_at": TIME, "updated_at": TIME}


@dataclass(frozen=True, slots=True)
class Response:
    """A response; `size` is that of head and body in bytes."""

    status: int
    content_type: str
    body: bytes
    size: int = 0


def normalized(workload: str, response: Response) -> Any:
    """The response without what may differ between peers; one that cannot be parsed says so."""
    try:
        parse = PARSERS.get(workload, _json)
        return [response.status, response.content_type.partition(";")[0], parse(response.body)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [response.status, f"cannot be read: {error!r}", response.body[:200].decode(errors="replace")]


def first_difference(expected: Any, actual: Any, path: str = "") -> str | None:
    """The first difference between two normalized responses, as a sentence."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in [*expected, *(key for key in actual if key not in expected)]:
            if key not in expected or key not in actual:
                return f"{path}/{key} is {'missing' if key in expected else 'unexpected'}"
            if difference := first_difference(expected[key], actual[key], f"{path}/{key}"):
                return difference
        return None
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return f"{path} has {len(actual)} items, not {len(expected)}"
        pairs = enumerate(zip(expected, actual, strict=True))
        differences = (first_difference(*pair, f"{path}/{index}") for index, pair in pairs)
        return next(filter(None, differences), None)
    same = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
    return None if same else f"{path or 'the response'} is {actual!r:.120}, not {expected!r:.120}"


def _json(body: bytes) -> Any:
    return json.loads(body)


def _text(body: bytes) -> Any:
    return body.decode()


def _list(body: bytes) -> Any:
    page = json.loads(body)
    return {**page, "next": page["next"] is not None}


def _created_record(body: bytes) -> Any:
    record = json.loads(body)
    return {**record, **{name: bool(pattern.fullmatch(record[name])) for name, pattern in GENERATED_FIELDS.items()}}


def _world_rows(body: bytes) -> Any:
    """For each row, whether it has the random number that it was created with."""
    rows = json.loads(body)
    return [row == {"id": row["id"], "randomNumber": dataset.random_number(row["id"])} for row in rows]


def _updated_world_rows(body: bytes) -> Any:
    """For each row, whether it is well formed; last, whether all are different rows."""
    rows = json.loads(body)
    allowed = range(1, dataset.WORLD_ROWS + 1)
    valid = [row.keys() == {"id", "randomNumber"} and all(value in allowed for value in row.values()) for row in rows]
    return [*valid, len({row["id"] for row in rows}) == len(rows)]


def _graphql(body: bytes) -> Any:
    return _without_connections(json.loads(body))


def _without_connections(value: Any) -> Any:
    """Replace `{"nodes": […]}` by the list, and a cursor by whether there is one."""
    if isinstance(value, list):
        return [_without_connections(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"nodes"}:
        return _without_connections(value["nodes"])
    plain = {key: _without_connections(item) for key, item in value.items()}
    return {**plain, "endCursor": plain["endCursor"] is not None} if "endCursor" in plain else plain


def _table_cells(body: bytes) -> Any:
    parser = _CellParser()
    parser.feed(body.decode())
    return parser.cells


class _CellParser(HTMLParser):
    """Collects the texts of a table's cells."""

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


PARSERS: dict[str, Callable[[bytes], Any]] = {
    "plaintext": _text,
    "list": _list,
    "create": _created_record,
    "queries": _world_rows,
    "updates": _updated_world_rows,
    "fortunes": _table_cells,
    "graphql-one": _graphql,
    "graphql-list": _graphql,
    "graphql-nested": _graphql,
}
