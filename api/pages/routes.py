"""The HTML pages: the front page, Swagger UI, ReDoc, GraphiQL, and one page for each problem type.

The templates are in `static/pages/`; `api.pages.assets` installs the explorers' files. No page has inline code or
remote content, so that one strict policy holds for all. Links are relative, so that the pages work under any prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from html import escape
from pathlib import Path
from string import Template

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api.http.static_content import StaticContent
from api.pages.problems import ProblemType, problem_types

STATIC = Path(__file__).parent / "static"
PAGES = STATIC / "pages"
VENDOR = STATIC / "vendor"

# Both hashes are for ReDoc: the style sheet that it creates empty and fills by script, and the one of its scroll bars.
POLICY = (
    "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FOR_FILES = ("Content-Security-Policy", "Cross-Origin-Resource-Policy", "X-Content-Type-Options")
FILE_HEADERS = {name: PAGE_HEADERS[name] for name in _FOR_FILES}
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}
IMMUTABLE = "public, max-age=31536000, immutable"


def routes(problems: Iterable[ProblemType] | None = None, vendor: Path = VENDOR) -> list[BaseRoute]:
    """Return the routes of all pages but GraphiQL's, which shares its path with the GraphQL API (`graphiql_page`)."""
    types = problem_types() if problems is None else problems
    pages = _Pages({problem.slug: problem for problem in types}, vendor)
    return [
        Route("/", pages.front, name="front"),
        Route("/docs", partial(_explorer, name="docs", vendor=vendor), name="docs"),
        Route("/redoc", partial(_explorer, name="redoc", vendor=vendor), name="redoc"),
        Route("/problems", pages.problems, name="problems"),
        Route("/problems/{slug}", pages.problem, name="problem"),
        Route("/favicon.ico", pages.icon, name="icon"),
        Route("/static/{path:path}", pages.file, name="static"),
    ]


def graphiql_page(request: Request | None = None, vendor: Path = VENDOR) -> Response:
    """Return GraphiQL's page, for browsers that open `/graphql`."""
    response = _explorer(request, "graphql", vendor)
    response.headers["Vary"] = "Accept, Accept-Encoding"
    return response


class _Pages:
    """The endpoints. They are synchronous, which Starlette runs in a thread, because they read files."""

    def __init__(self, problems: Mapping[str, ProblemType], vendor: Path) -> None:
        self._problems = problems
        self._vendor = vendor

    def front(self, request: Request) -> Response:
        return _page(request, "front", variables={"base": escape(_base_url(request))})

    def problems(self, request: Request) -> Response:
        row = _template("problem-row")
        rows = "".join(row.substitute(_variables(problem)) for problem in self._problems.values())
        return _page(request, "problems", variables={"rows": rows})

    def problem(self, request: Request) -> Response:
        problem = self._problems.get(request.path_params["slug"])
        if problem is None:
            raise HTTPException(404)
        return _page(request, "problem", root="../", variables=_variables(problem))

    def icon(self, request: Request) -> Response:
        return _file(request, _load(STATIC / "own" / "favicon.svg"), MEDIA_TYPES[".svg"])

    def file(self, request: Request) -> Response:
        path = _static_path(request.path_params["path"], self._vendor)
        if path is None or path.suffix not in MEDIA_TYPES or not path.is_file():
            raise HTTPException(404)
        return _file(request, _load(path), MEDIA_TYPES[path.suffix])


def _variables(problem: ProblemType) -> dict[str, str]:
    return {
        "slug": escape(problem.slug),
        "title": escape(problem.title),
        "status": f"HTTP {problem.status}" if problem.status else "GraphQL only",
        "code": escape(problem.code).replace("_", "_<wbr>"),  # a narrow screen may break the line here
        "description": escape(problem.description),
        "remedy": escape(problem.remedy),
    }


def _base_url(request: Request) -> str:
    """Return the address that the client used, if it is safe to paste into a shell."""
    base = str(request.base_url).rstrip("/")
    return base if re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./~-]*)?", base, re.ASCII) else "http://localhost"


def _explorer(request: Request | None, name: str, vendor: Path) -> Response:
    """Return the explorer's page or, if its files are not installed, a page that says how to install them."""
    try:
        return _page(request, name, vendor=vendor)
    except FileNotFoundError:
        return _page(request, "missing", current=name)


def _page(
    request: Request | None,
    name: str,
    *,
    current: str = "",
    root: str = "",
    vendor: Path = VENDOR,
    variables: Mapping[str, str] | None = None,
) -> Response:
    """Render a page, with digests in its links to static files. `root` is the relative path to the server's root."""
    link = f'href="{root}{current or name}"'
    header = _template("header").substitute(root=root).replace(link, f'{link} aria-current="page"')
    text = _template(name).substitute(variables or {}, header=header, root=root)
    text = re.sub(r'"((?:\.\./)?static/([\w./-]+))"', lambda match: _versioned(match[1], match[2], vendor), text)
    request_headers = request.headers if request else Headers()
    headers = {**PAGE_HEADERS, "Cache-Control": "no-cache"}
    return StaticContent.of(text.encode()).response(request_headers, "text/html", headers)


def _template(name: str) -> Template:
    return Template((PAGES / f"{name}.html").read_text(encoding="utf-8"))


def _versioned(address: str, path: str, vendor: Path) -> str:
    static_path = _static_path(path, vendor)
    assert static_path is not None, f"a page must link static files only, got {address}"
    return f'"{address}?v={_load(static_path).digest}"'


def _static_path(path: str, vendor: Path) -> Path | None:
    """Return the file of a path below `/static/`; None if it leads out of the two folders."""
    if not re.fullmatch(r"(own|vendor)(/[A-Za-z0-9][\w.-]*)+", path, re.ASCII):
        return None
    folder, _, rest = path.partition("/")
    return (vendor if folder == "vendor" else STATIC / "own") / rest


def _load(path: Path) -> StaticContent:
    return _cached(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _cached(path: Path, modified: int) -> StaticContent:
    return StaticContent.of(path.read_bytes())


def _file(request: Request, content: StaticContent, media_type: str) -> Response:
    """Return a file; if its digest is in the address, it may be cached for ever."""
    caching = IMMUTABLE if request.query_params.get("v") == content.digest else "no-cache"
    return content.response(request.headers, media_type, {**FILE_HEADERS, "Cache-Control": caching})
