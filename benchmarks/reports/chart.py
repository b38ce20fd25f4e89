"""A run as an SVG bar chart: requests per second, one panel for each workload.

The picture has its own background and text colours, light and dark, so that it is readable wherever it is shown.
"""

from __future__ import annotations

from html import escape

from benchmarks.peer import TITLES
from benchmarks.reports.results import Run

WORKLOADS = ("one", "list", "create", "queries", "graphql-one", "graphql-list", "graphql-nested", "fortunes")
WIDTH, MARGIN, GUTTER, COLUMNS = 980, 28, 36, 2
HEAD, TITLE, ROW, BAR, BELOW = 78, 26, 19, 12, 26
LABEL, VALUE = 148, 60
SHORT_TITLES = {
    "fastapi": "FastAPI",
    "fastapi-cached": "FastAPI, caches on",
    "litestar": "Litestar",
    "flask": "Flask",
    "django": "Django",
    "blacksheep": "BlackSheep",
    "fastify": "Fastify (Node)",
    "raw": "raw ASGI, raw SQL",
}
STYLE = """
  .background { fill: #ffffff; stroke: #d0d7de }
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
  .title { font-size: 19px; font-weight: 600; fill: #1f2328 }
  .panel { font-size: 13px; font-weight: 600; fill: #1f2328 }
  .own, .value.own { font-weight: 600; fill: #1f2328 }
  .value { font-variant-numeric: tabular-nums }
  .bar { fill: #afb8c1 }
  .bar.own { fill: #0a7d5a }
  .bar.limit { fill: none; stroke: #8c959f; stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) {
    .background { fill: #0d1117; stroke: #30363d }
    text { fill: #9198a1 }
    .title, .panel, .own, .value.own { fill: #f0f6fc }
    .bar { fill: #484f58 }
    .bar.own { fill: #2ea97d }
    .bar.limit { fill: none; stroke: #8b949e }
  }
"""


def chart(run: Run) -> str:
    """The SVG document."""
    panels = [_panel(run, name) for name in WORKLOADS if name in run.workloads]
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    top, parts = HEAD, []
    for row in rows:
        for column, (_, drawn) in enumerate(row):
            left = MARGIN + column * (_panel_width() + GUTTER)
            parts.append(f'<g transform="translate({left} {top})">{drawn}</g>')
        top += max(height for height, _ in row)
    return "\n".join([*_frame(run, top + MARGIN - BELOW), *parts, "</svg>"]) + "\n"


def _frame(run: Run, height: int) -> list[str]:
    subtitle = f"{TITLES[run.system]}, {run.users:,} users, one worker on one core, 32 connections; longer is better"
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title description">',
        '<title id="title">Requests per second</title>',
        f'<desc id="description">{escape(_description(run))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="background" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
        f'<text class="title" x="{MARGIN}" y="36">Requests per second</text>',
        f'<text x="{MARGIN}" y="57">{escape(subtitle)}</text>',
    ]


def _panel(run: Run, workload: str) -> tuple[int, str]:
    """The height and the drawing of a workload's panel: its peers, the fastest first."""
    values = [(peer, value) for peer in run.peers if (value := peer.requests(workload))]
    values.sort(key=lambda pair: -pair[1])
    parts = [f'<text class="panel" x="0" y="12">{escape(run.workloads[workload])}</text>']
    maximum = values[0][1] if values else 1.0
    for position, (peer, value) in enumerate(values):
        parts.append(_bar(peer.name, value, value / maximum, TITLE + position * ROW))
    return TITLE + len(values) * ROW + BELOW, "".join(parts)


def _bar(name: str, value: float, share: float, top: int) -> str:
    css = {"tandem": " own", "raw": " limit"}.get(name, "")
    length = max(1.0, share * (_panel_width() - LABEL - VALUE))
    text, label = top + BAR - 2, escape(SHORT_TITLES.get(name, "Tandem"))
    return (
        f'<text class="label{css}" x="{LABEL - 8}" y="{text}" text-anchor="end">{label}</text>'
        f'<rect class="bar{css}" x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>'
        f'<text class="value{css}" x="{LABEL + length + 6:.1f}" y="{text}">{value:,.0f}</text>'
    )


def _description(run: Run) -> str:
    """The description for screen readers."""
    sentences = []
    for name in WORKLOADS:
        values = [
            f"{SHORT_TITLES.get(peer.name, peer.title)} {value:,.0f}"
            for peer in run.peers
            if (value := peer.requests(name))
        ]
        if name in run.workloads and values:
            sentences.append(f"{run.workloads[name]}: {', '.join(values)}.")
    return " ".join(sentences)


def _panel_width() -> int:
    return (WIDTH - 2 * MARGIN - GUTTER * (COLUMNS - 1)) // COLUMNS
