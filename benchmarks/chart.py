"""A run as an SVG picture, written by hand: bars of requests a second, a panel for each workload.

It brings its own ground and text colours, for light and for dark, so that it can be read wherever it is shown.
"""

from __future__ import annotations

from html import escape

from benchmarks.figures import Run
from benchmarks.roster import TITLES

SHOWN = ("one", "list", "create", "queries", "graphql-one", "graphql-list", "graphql-nested", "fortunes")
WIDTH, MARGIN, GUTTER, COLUMNS = 980, 28, 36, 2
HEAD, TITLE, ROW, BAR, BELOW = 78, 26, 19, 12, 26
LABEL, FIGURE = 148, 60
SHORT = {
    "fastapi": "FastAPI",
    "fastapi-cached": "FastAPI, caches on",
    "litestar": "Litestar",
    "flask": "Flask",
    "django": "Django",
    "blacksheep": "BlackSheep",
    "fastify": "Fastify (Node)",
    "raw": "raw ASGI, bare SQL",
}
STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de }
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
  .title { font-size: 19px; font-weight: 600; fill: #1f2328 }
  .panel { font-size: 13px; font-weight: 600; fill: #1f2328 }
  .own, .figure.own { font-weight: 600; fill: #1f2328 }
  .figure { font-variant-numeric: tabular-nums }
  .bar { fill: #afb8c1 }
  .bar.own { fill: #0a7d5a }
  .bar.limit { fill: none; stroke: #8c959f; stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #30363d }
    text { fill: #9198a1 }
    .title, .panel, .own, .figure.own { fill: #f0f6fc }
    .bar { fill: #484f58 }
    .bar.own { fill: #2ea97d }
    .bar.limit { fill: none; stroke: #8b949e }
  }
"""


def chart(run: Run) -> str:
    """The whole picture."""
    panels = [_panel(run, name) for name in SHOWN if name in run.workloads]
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    top, parts = HEAD, []
    for row in rows:
        for column, (_, drawn) in enumerate(row):
            left = MARGIN + column * (_panel_width() + GUTTER)
            parts.append(f'<g transform="translate({left} {top})">{drawn}</g>')
        top += max(height for height, _ in row)
    return "\n".join([*_frame(run, top + MARGIN - BELOW), *parts, "</svg>"]) + "\n"


def _frame(run: Run, height: int) -> list[str]:
    words = f"{TITLES[run.system]}, {run.users:,} users, one worker on one core, 32 connections; longer is better"
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title description">',
        '<title id="title">Requests a second</title>',
        f'<desc id="description">{escape(_spoken(run))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
        f'<text class="title" x="{MARGIN}" y="36">Requests a second</text>',
        f'<text x="{MARGIN}" y="57">{escape(words)}</text>',
    ]


def _panel(run: Run, workload: str) -> tuple[int, str]:
    """A workload's height and drawing: its peers, the fastest above."""
    found = [(peer, figure) for peer in run.peers if (figure := peer.requests(workload))]
    found.sort(key=lambda it: -it[1])
    parts = [f'<text class="panel" x="0" y="12">{escape(run.workloads[workload])}</text>']
    longest = found[0][1] if found else 1.0
    for place, (peer, figure) in enumerate(found):
        parts.append(_bar(peer.name, figure, figure / longest, TITLE + place * ROW))
    return TITLE + len(found) * ROW + BELOW, "".join(parts)


def _bar(name: str, figure: float, share: float, top: int) -> str:
    mark = {"tandem": " own", "raw": " limit"}.get(name, "")
    length = max(1.0, share * (_panel_width() - LABEL - FIGURE))
    text, label = top + BAR - 2, escape(SHORT.get(name, "Tandem"))
    return (
        f'<text class="label{mark}" x="{LABEL - 8}" y="{text}" text-anchor="end">{label}</text>'
        f'<rect class="bar{mark}" x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>'
        f'<text class="figure{mark}" x="{LABEL + length + 6:.1f}" y="{text}">{figure:,.0f}</text>'
    )


def _spoken(run: Run) -> str:
    """The picture in words."""
    sentences = []
    for name in SHOWN:
        figures = [f"{SHORT.get(it.name, it.title)} {it.requests(name):,.0f}" for it in run.peers if it.requests(name)]
        if name in run.workloads and figures:
            sentences.append(f"{run.workloads[name]}: {', '.join(figures)}.")
    return " ".join(sentences)


def _panel_width() -> int:
    return (WIDTH - 2 * MARGIN - GUTTER * (COLUMNS - 1)) // COLUMNS
