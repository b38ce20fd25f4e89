"""Every regular expression of `api/` and `schema/`: how it is used on what callers send, or why it never is.

A site is `file:name`: the name that it is assigned to, or the function that it stands in (with a number from the
second on). Each is tried with texts of the form start + pump * n + end.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
USES = {"compile", "match", "search", "sub", "subn", "fullmatch", "findall", "finditer", "split"}


@dataclass(frozen=True)
class Scan:
    """How an expression is used, and what is hostile to it. `given` stands for names local to its function."""

    use: str
    pumps: tuple[str, ...]
    starts: tuple[str, ...] = ("",)
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """A regular expression in the code: the arguments of the call that makes it."""

    name: str
    module: str
    arguments: tuple[ast.expr, ...]
    keywords: tuple[ast.keyword, ...]
    use: str

    def pattern(self, given: Mapping[str, Any]) -> re.Pattern[Any]:
        """The expression as the code makes it."""
        names = {**vars(importlib.import_module(self.module)), **given}
        text, *rest = (self._value(it, names) for it in self.arguments)
        flags = {it.arg: self._value(it.value, names) for it in self.keywords}.get("flags", 0)
        if self.use == "compile" and rest:
            flags = rest[0]
        if self.use in ("match", "search", "fullmatch", "findall", "finditer") and len(rest) > 1:
            flags = rest[1]
        return re.compile(text, flags)

    def _value(self, node: ast.expr, names: dict[str, Any]) -> Any:
        try:
            return eval(compile(ast.Expression(node), self.name, "eval"), names)
        except NameError:
            return None  # the text that is looked at


def sites(root: Path = ROOT) -> Iterator[Site]:
    """All places where `re` is called."""
    for path in sorted(it for top in ("api", "schema") for it in (root / top).rglob("*.py")):
        file = path.relative_to(root).as_posix()
        seen: dict[str, int] = {}
        for owner, call in _calls(ast.parse(path.read_text("utf-8"))):
            seen[owner] = seen.get(owner, 0) + 1
            name = f"{file}:{owner}" + (f"#{seen[owner]}" if seen[owner] > 1 else "")
            assert isinstance(call.func, ast.Attribute)
            module = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            yield Site(name, module, tuple(call.args), tuple(call.keywords), call.func.attr)


def _calls(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.Call]]:
    for node in ast.iter_child_nodes(tree):
        inner = owner
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not owner:
            inner = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        if isinstance(node, ast.Call) and _is_regular_expression(node.func):
            yield owner, node
        yield from _calls(node, inner)


def _is_regular_expression(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "re"
        and function.attr in USES
    )


_HEX = "0123456789abcdef"
_GZIP = ("gzip", "gzip ", "gzip;", "gzip ;q=0.", " ", "0", ".", "\t", "gzip;q=0,")
_STRINGS = ('"', '""', '"""', "\\", '\\"', '\\"""', '"" ', '"a')
_TOKENS = (
    *_STRINGS,
    "#",
    "#a",
    "#\n",
    "\n",
    ",",
    " ",
    "\ufeff",
    "a",
    "a ",
    "é",
    "_",
    "1",
    "1.",
    "1e",
    "-",
    ".",
    "...",
    "{",
)
_TAGS = ('"', 'W/"', '"a"', 'W/"a",', '\\"', '"0123456789abcdef-gzi')

SCANS: dict[str, Scan] = {
    "api/auth.py:_BEARER": Scan("fullmatch", ("a", "=", " ", "a="), ("", "Bearer ", "Bearer a")),
    "api/auth.py:_KEY": Scan("fullmatch", ("a", "_", "-"), ("tdm_", f"tdm_{_HEX * 2}_")),
    "api/development.py:_name": Scan("fullmatch", ("a", ":", "1", ":1", "[", "]", "."), ("", "[", "[::1]:", "a:")),
    "api/docs.py:_answer": Scan("search", _GZIP, ("", "gzip", "gzip;q=0.")),
    "api/docs.py:_answer#2": Scan("search", _TAGS, ("", "*"), {"etag": '"0123456789abcdef-gzip"'}),
    "api/docs.py:_base": Scan("fullmatch", ("a", "/", "a/", ":", ".", "~"), ("http://", "https://a/")),
    "api/docs.py:_page": Scan(
        "finditer", ("static/", '"static/', '"../', "../static/", '"static/a"', "/"), ("", '"'), {"text": ""}
    ),
    "api/docs.py:_place": Scan("fullmatch", ("a", "/", "/a", "/a.", "."), ("own/", "vendor/a", "own")),
    "api/figures.py:_TRACE": Scan("fullmatch", ("0", "-", "a"), ("", f"00-{_HEX * 2}-{_HEX}-01-", "ff-")),
    "api/hosts.py:_HOST": Scan("fullmatch", ("a", ".", ":", "1", ":1", "[", "f:"), ("", "[", "a:", "[::1]:")),
    "api/logs.py:_CREDENTIAL": Scan(
        "finditer",
        ("a", "@", "a@", "://", "://a", "bearer ", "bearer", " ", "eyJ", "eyJa.", ".", "tdm_", "tdm", "a,", "=", "/"),
        ("", "://", "eyJ", "bearer ", "a@"),
    ),
    "api/logs.py:_VALUES": Scan(
        "finditer", ("'", '"', "\\", "\\'", "`", "{", "[", "=", "1", "1a", "111a", "= ", "a"), ("", "'", '"', "`", "=")
    ),
    "api/logs.py:_CONTROLS": Scan("finditer", ("\x00", "a", "a\x00")),
    "api/rest/headers.py:_TAG": Scan("finditer", ('"', "W/", 'W/"', '"a"', "a", "W"), ("", '"', "W/")),
    "api/rest/headers.py:_VERSION": Scan("fullmatch", ("1", "-public", "0"), ("", "1")),
    "api/rest/hints.py:_BOOLEAN": Scan("fullmatch", ("true", "t", "false")),
    "api/rest/hints.py:_NUMBER": Scan(
        "fullmatch", ("1", "0", "-", ".", "1.", "e", "e1", ".1", "1e"), ("", "-", "1.", "1.1e", "1e+", "1" * 9 + ".")
    ),
    "api/rest/hints.py:_fits": Scan(
        "fullmatch", ("a", "\x00", "1", ","), ("", "2026-11-22"), {"pattern": "^[^,\u0000-\u001f\u007f-\u009f]*$"}
    ),
    "api/rest/openapi.py:show": Scan("search", _GZIP, ("", "gzip", "gzip;q=0.")),
    "api/rest/openapi.py:show#2": Scan("search", _TAGS, ("", "*"), {"etag": '"0123456789abcdef-gzip"'}),
    "api/rest/repeating.py:_SENT": Scan("fullmatch", ("a", '"', "\\", '\\"', "\\\\", "!"), ("", '"', '"\\')),
    "api/rest/repeating.py:_key": Scan("finditer", ("\\", "\\\\", '\\"', "a", "a\\"), given={"text": '""'}),
    "api/rest/values.py:_INTEGER": Scan("fullmatch", ("1", "0", "-"), ("", "-")),
    "api/rest/values.py:cursor": Scan(
        "fullmatch", ("a", "_", "="), given={"schema": {"pattern": "^[A-Za-z0-9_-]+$", "maxLength": 2048}}
    ),
    "api/rest/values.py:_text": Scan("fullmatch", ("a", "\x00", ","), given={"pattern": "^[^,\u0000-\u001f]+$"}),
    "api/rest/values.py:_uuid": Scan("fullmatch", ("a", "-", "0"), ("", "019aa0b1-7c30-7e6a-9d5b-")),
    "api/tokens.py:_TOKEN": Scan("fullmatch", ("a", ".", "a.", "-", "_"), ("", "a.", "a.a.")),
    "api/tokens.py:_PLAIN": Scan("fullmatch", ("a", "\x00", " ")),
    "api/wire/body.py:_POSSIBLE_END": Scan("finditer", ("\r\n", "\r", "\n", "a", "\r\n\r\n", "\n\r\n")),
    "api/wire/connection.py:_BLANK_LINES": Scan("match", ("\r\n", "\r", "\n", "a")),
    "api/wire/connection.py:_UPGRADE": Scan("finditer", ("\r\n", "\r", "upgrade:", "\r\nupgrade:", "a", "u")),
    "api/wire/head.py:_HOST": Scan("fullmatch", ("a", ":", "1", ".", "[", "f:"), ("", "[", "a:", "[::1]:")),
    "api/wire/head.py:_ABSOLUTE": Scan("fullmatch", ("a", "/", "?", "#", "@"), ("http://", "http://a/", "http://a/?")),
    "api/wire/head.py:_ORIGIN": Scan("fullmatch", ("a", "/", "?", "#"), ("/", "/?", "/#")),
    "api/wire/head.py:_CONNECT": Scan("match", ("A", " ", "a", "1", "\r"), ("", "CONNECT ", "CONNECT / HTTP/1.1")),
    "api/wire/head.py:REQUEST_LINE": Scan("match", ("A", " ", "a", "1", "\r"), ("", "GET ", "GET / HTTP/1.1", "GET /")),
    "api/wire/head.py:_NOT_ASCII": Scan("match", ("A", " ", "a", "\xe9", "\r"), ("", "GET ", "GET / HTTP/1.1")),
    "api/wire/head.py:_PART_OF_LINE": Scan("fullmatch", ("A", " ", "\xe9", "\r", "\n")),
    "api/wire/head.py:_PART_OF_TARGET": Scan("match", ("A", " ", "a"), ("", "GET ")),
    "api/wire/head.py:_BARE_LINE_FEED": Scan("search", ("\r\n", "\r", "a")),
    "api/wire/websocket_handshake.py:_KEY": Scan("fullmatch", ("a", "=", "A")),
    "api/wire/head.py:_OTHER_VERSION": Scan(
        "match", ("A", " ", "a", "1", ".", "\r", " HTTP/"), ("", "GET ", "GET / HTTP/2", "GET / HTTP/")
    ),
    "schema/engine/comparison.py:UUID": Scan("fullmatch", ("a", "-", "0"), ("", "019aa0b1-7c30-7e6a-9d5b-")),
    "schema/engine/comparison.py:READABLE": Scan("fullmatch", ("a", "\x00")),
    "schema/engine/connection.py:_DAMAGED": Scan("search", ("mal", "malform", "not ", "not a data", "n", "m")),
    "schema/engine/connection.py:_UNAVAILABLE": Scan("search", ("no such ", "unable ", "read", "n", "r", "u")),
    "schema/engine/cursors.py:_TIME": Scan("fullmatch", ("0", "1", "-", "9"), ("", "2026-11-22T09:30:00.")),
    "schema/engine/faces.py:_MOMENT": Scan("fullmatch", ("0", "1", "-", "9"), ("", "2026-11-22T09:30:00.", "0000")),
    "schema/engine/repeats.py:_KEY": Scan("fullmatch", ("a", " ", '"')),
    "schema/engine/searching.py:_READABLE": Scan("fullmatch", ("a", " ", "a ", "\x00", "aaa ")),
    "schema/graphql/limits.py:_TOKEN": Scan("finditer", _TOKENS, ("", '"', '"""', "#", "...", "-", "a")),
    "schema/transfer/reading.py:_INTEGER": Scan("fullmatch", ("1", "+", "-", "a"), ("", "+")),
}  # fmt: skip

_START = "read when the service is built, from its own code"
_OPERATOR = "what the operator writes: settings, arguments, files of the checkout"
_DATABASE = "SQL and plans that the engine has written itself"
UNREACHED: dict[str, str] = {
    "api/assets.py:_cleaned": _OPERATOR,
    "api/assets.py:_complaint": _OPERATOR,
    "api/commands/explaining.py:_GRAPHQL": _OPERATOR,
    "api/commands/explaining.py:_ID": _OPERATOR,
    "api/commands/explaining.py:_REST": _OPERATOR,
    "api/commands/explaining.py:_hindrance": _OPERATOR,
    "api/commands/explaining.py:_understood": _OPERATOR,
    "api/commands/keys.py:_moment": _OPERATOR,
    "api/commands/rehearsing.py:_example": _START,
    "api/commands/rehearsing.py:_example#2": _START,
    "api/knobs.py:_hosts": _OPERATOR,
    "api/knobs.py:_origins": _OPERATOR,
    "api/knobs.py:_proxies": _OPERATOR,
    "api/knobs.py:_seconds": _OPERATOR,
    "api/knobs.py:_token": _OPERATOR,
    "api/knobs.py:number": _OPERATOR,
    "api/rest/examples.py:_text": _START,
    "api/rest/typed.py:_check": _START,
    "api/rest/typed.py:_names": _START,
    "api/serving.py:_PLAIN": _OPERATOR,
    "api/settings.py:_shown": _OPERATOR,
    "api/settings.py:_shown#2": _OPERATOR,
    "api/shortcut.py:_TEMPLATE": _START,
    "api/urls.py:database": _OPERATOR,
    "api/urls.py:redis": _OPERATOR,
    "schema/engine/bundle.py:_PLACE": _DATABASE,
    "schema/engine/place.py:_SCHEME": _OPERATOR,
    "schema/engine/place.py:name": _OPERATOR,
    "schema/engine/record.py:__tablename__": _START,
    "schema/engine/shape.py:plural_of": _START,
    "schema/explain/layout.py:_WORDS": _DATABASE,
    "schema/explain/trying.py:_ALIAS": _DATABASE,
    "schema/explain/trying.py:_SCAN": _DATABASE,
    "schema/explain/trying.py:_GATHERED": _DATABASE,
    "schema/graphql/declaring.py:snake": _START,
    "schema/migrations/known.py:_LINE": _START,
    "schema/transfer/source.py:kind_named": _OPERATOR,
}
