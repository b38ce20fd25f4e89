"""The pages that people look at: the front page, Swagger UI, ReDoc, GraphiQL, and one page for each problem type.

They are small documents of ours in `static/pages/`; the explorers' own files are fetched by `api.pages.assets`. Nothing
is inline and nothing is remote, so that one strict policy holds for all. What the API is and does is told elsewhere:
the explorers read it from `/openapi.json` and `/graphql`. Every address on a page is relative, so that any prefix will
do.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from string import Template

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

STATIC = Path(__file__).parent / "static"
PAGES = STATIC / "pages"
VENDOR = STATIC / "vendor"

# The two hashes are ReDoc's: the sheet that it begins empty and fills by script, and the one of its scroll bars.
POLICY = (
    "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
GUARDED = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FOR_FILES = ("Content-Security-Policy", "Cross-Origin-Resource-Policy", "X-Content-Type-Options")
PASSING = {name: GUARDED[name] for name in _FOR_FILES}
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Problem:
    """What can go wrong: `NOT_FOUND` has its page at `/problems/not-found`. Without a status it is GraphQL's alone."""

    code: str
    title: str
    status: int | None
    meaning: str
    remedy: str

    @property
    def slug(self) -> str:
        return self.code.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class _Content:
    """What is sent, as it is and packed, and the digest it is known by."""

    body: bytes
    packed: bytes
    digest: str

    @classmethod
    def of(cls, body: bytes) -> _Content:
        return cls(body, gzip.compress(body, mtime=0), hashlib.sha256(body).hexdigest()[:16])


def routes(problems: Iterable[Problem] = (), vendor: Path = VENDOR) -> list[BaseRoute]:
    """Everything below is for GET and HEAD; of GraphiQL's page the GraphQL door decides (`graphiql_page`)."""
    pages = _Pages({problem.slug: problem for problem in problems}, vendor)
    return [
        Route("/", pages.front, name="front"),
        Route("/docs", pages.docs, name="docs"),
        Route("/redoc", pages.redoc, name="redoc"),
        Route("/problems", pages.problems, name="problems"),
        Route("/problems/{slug}", pages.problem, name="problem"),
        Route("/favicon.ico", pages.icon, name="icon"),
        Route("/static/{path:path}", pages.file, name="static"),
    ]


def graphiql_page(request: Request | None = None, vendor: Path = VENDOR) -> Response:
    """GraphiQL, for a browser that comes to `/graphql`."""
    response = _explorer(request, "graphql", vendor)
    response.headers["Vary"] = "Accept, Accept-Encoding"
    return response


class _Pages:
    """The endpoints. They are plain functions, which Starlette runs in a thread: they read files."""

    def __init__(self, problems: Mapping[str, Problem], vendor: Path) -> None:
        self._problems = problems
        self._vendor = vendor

    def front(self, request: Request) -> Response:
        return _page(request, "front", words={"base": escape(_base(request))})

    def docs(self, request: Request) -> Response:
        return _explorer(request, "docs", self._vendor)

    def redoc(self, request: Request) -> Response:
        return _explorer(request, "redoc", self._vendor)

    def problems(self, request: Request) -> Response:
        row = _template("problem-row")
        rows = "".join(row.substitute(_words(problem)) for problem in self._problems.values())
        return _page(request, "problems", words={"rows": rows})

    def problem(self, request: Request) -> Response:
        problem = self._problems.get(request.path_params["slug"])
        if problem is None:
            raise HTTPException(404)
        return _page(request, "problem", root="../", words=_words(problem))

    def icon(self, request: Request) -> Response:
        return _file(request, _load(STATIC / "own" / "favicon.svg"), TYPES[".svg"])

    def file(self, request: Request) -> Response:
        path = _place(request.path_params["path"], self._vendor)
        if path is None or path.suffix not in TYPES or not path.is_file():
            raise HTTPException(404)
        return _file(request, _load(path), TYPES[path.suffix])


def _words(problem: Problem) -> dict[str, str]:
    """A problem in the words of its page."""
    status = f"HTTP {problem.status}" if problem.status else "GraphQL only"
    words = {"slug": problem.slug, "title": problem.title, "meaning": problem.meaning, "remedy": problem.remedy}
    code = escape(problem.code).replace("_", "_<wbr>")  # where a narrow screen may break it
    return {"status": status, "code": code} | {word: escape(text) for word, text in words.items()}


def _base(request: Request) -> str:
    """The address that the caller used, if it is one that a shell may be given."""
    base = str(request.base_url).rstrip("/")
    return base if re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./~-]*)?", base, re.ASCII) else "http://localhost"


def _explorer(request: Request | None, name: str, vendor: Path) -> Response:
    """The explorer's page or, where its files are not installed, one that says how to fetch them."""
    try:
        return _page(request, name, vendor=vendor)
    except FileNotFoundError:
        return _page(request, "missing", here=name)


def _page(
    request: Request | None,
    name: str,
    *,
    here: str = "",
    root: str = "",
    vendor: Path = VENDOR,
    words: Mapping[str, str] | None = None,
) -> Response:
    """A page whose links to our files carry the files' digests; `root` leads from it to the server's root."""
    link = f'href="{root}{here or name}"'
    header = _template("header").substitute(root=root).replace(link, f'{link} aria-current="page"')
    text = _template(name).substitute(words or {}, header=header, root=root)
    text = re.sub(r'"((?:\.\./)?static/([\w./-]+))"', lambda found: _versioned(found[1], found[2], vendor), text)
    return _answer(request, _Content.of(text.encode()), "text/html", {**GUARDED, "Cache-Control": "no-cache"})


def _template(name: str) -> Template:
    return Template((PAGES / f"{name}.html").read_text(encoding="utf-8"))


def _versioned(address: str, path: str, vendor: Path) -> str:
    place = _place(path, vendor)
    assert place is not None, f"a page links {address}"
    return f'"{address}?v={_load(place).digest}"'


def _place(path: str, vendor: Path) -> Path | None:
    """Where a file we serve lies: in one of two folders, under a name that leads nowhere else."""
    if not re.fullmatch(r"(own|vendor)(/[A-Za-z0-9][\w.-]*)+", path, re.ASCII):
        return None
    folder, _, rest = path.partition("/")
    return (vendor if folder == "vendor" else STATIC / "own") / rest


def _load(path: Path) -> _Content:
    return _loaded(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _loaded(path: Path, changed: int) -> _Content:
    return _Content.of(path.read_bytes())


def _file(request: Request, content: _Content, media_type: str) -> Response:
    """A file that may be kept for ever if it was asked for by its digest."""
    kept = FOREVER if request.query_params.get("v") == content.digest else "no-cache"
    return _answer(request, content, media_type, {**PASSING, "Cache-Control": kept})


def _answer(request: Request | None, content: _Content, media_type: str, headers: Mapping[str, str]) -> Response:
    """The content in the encoding that the caller takes, or word that the caller has it already."""
    asked = request.headers if request else Headers()
    packed = bool(re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", asked.get("accept-encoding", "")))
    etag = f'"{content.digest}-gzip"' if packed else f'"{content.digest}"'
    headers = {**headers, "ETag": etag, "Vary": "Accept-Encoding"}
    if re.search(rf"^\*$|{etag}", asked.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    if packed:
        return Response(content.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=media_type)
    return Response(content.body, headers=headers, media_type=media_type)
