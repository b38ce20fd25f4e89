"""Reading a request takes time proportional to its length, and is bounded before it begins.

Eight times the input takes less than ten times the steps. Steps, not seconds: of regular expressions those of a
backtracking matcher, of loops in Python the lines that are run, and what the functions in C that they call go through.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.loop_steps import steps_of
from tests.fixtures.loop_table import LOOPS
from tests.fixtures.regex_steps import CountingMatcher
from tests.fixtures.regex_table import SCANS, UNREACHED, Scan, sites

SMALL, TIMES, LESS_THAN = 12, 8, 10
SITES = {site.name: site for site in sites()}
ENDS = ("", "\x00", '"')


def texts(scan: Scan, times: int) -> dict[str, str]:
    """Return texts that are hostile to an expression, by their construction."""
    return {
        f"{start!r} + {pump!r} * n + {end!r}": start + pump * (SMALL * times) + end
        for start in scan.starts
        for pump in scan.pumps
        for end in ENDS
    }


def count_steps(pattern: re.Pattern[Any], use: str, text: str) -> int:
    """Count the steps that an expression takes, and check that it matches as `re` does."""
    matcher = CountingMatcher(pattern)
    subject = text.encode() if isinstance(pattern.pattern, bytes) else text
    spans = getattr(matcher, use)(subject)
    if use == "finditer":
        assert spans == [match.span() for match in pattern.finditer(subject)]
    else:
        match = getattr(pattern, use)(subject)
        assert spans == ([match.span()] if match else [])
    return matcher.taken


def growth_of(pattern: re.Pattern[Any], scan: Scan) -> dict[str, float]:
    """Return by what factor the steps grow for eight times each hostile text."""
    few, many = texts(scan, 1), texts(scan, TIMES)
    return {
        name: count_steps(pattern, scan.use, many[name]) / count_steps(pattern, scan.use, few[name])
        for name in few
        if len(many[name]) > len(few[name])
    }


@pytest.mark.parametrize("name", SCANS)
def test_a_regular_expression_is_linear_in_its_input(name):
    scan = SCANS[name]
    assert name in SITES, f"there is no regular expression at {name} any more: remove its row"

    growth = growth_of(SITES[name].pattern(scan.given), scan)

    worst = max(growth, key=lambda name: growth[name])
    assert growth[worst] < LESS_THAN, f"{worst}: {growth[worst]:.1f} times the steps for {TIMES} times the text"


def test_every_regular_expression_is_in_the_table_or_has_a_reason_not_to_be():
    listed = {*SCANS, *UNREACHED}

    assert sorted(SITES.keys() - listed) == [], "say how callers reach it in SCANS, or why they do not in UNREACHED"
    assert sorted(listed - SITES.keys()) == [], "there is no such regular expression any more"


def test_every_regular_expression_of_a_module_is_listed(tmp_path):
    source = """
    import re
    A: re.Pattern[str] = re.compile("a")
    class C:
        B = re.compile("b")
        def method(self, text):
            return re.sub("x", "y", text) if re.match("z", text) else [part for part in re.split(",", text)]
    """
    (tmp_path / "api" / "deep").mkdir(parents=True)
    (tmp_path / "api" / "deep" / "new.py").write_text(textwrap.dedent(source))

    names = [site.name.partition(":")[2] for site in sites(tmp_path)]

    assert names == ["A", "C", "method", "method#2", "method#3"]


def test_re_is_imported_under_its_own_name():
    pattern = re.compile(r"^\s*from re import|import re as|\bimport regex\b|re\.(template|Scanner)\b", re.MULTILINE)

    offenders = [
        path.name
        for top in ("api", "schema")
        for path in (Path(__file__).parents[2] / top).rglob("*.py")
        if pattern.search(path.read_text("utf-8"))
    ]

    assert offenders == []


@pytest.mark.parametrize(
    "pattern, use, pump, start",
    [
        (r'"(?:[^"\\]|\\.)*+"', "finditer", '\\"', "[" * 33),  # what bodies were scanned by once
        (r"https?://[\w.:\[\]-]+[\w./~-]*", "fullmatch", "a", "http://"),
        (r"^[^\x00]*[^\x00 ]{3}[^\x00]*$", "fullmatch", "a", ""),
        (r"(?:a|a)*b", "match", "a", ""),
        (r" Did you mean.*?\?", "finditer", " Did you mean", ""),
        (r"\s+$", "search", " ", ""),
    ],
)
def test_the_count_finds_expressions_that_are_not_linear(pattern, use, pump, start):
    compiled = re.compile(pattern, re.DOTALL)
    texts = [start + pump * (times * 3) + "\x00" for times in (1, 4)]

    few, many = (count_steps(compiled, use, text) for text in texts)

    assert many > 5.5 * few


@pytest.mark.parametrize(
    "pattern, text",
    [
        (r"(a|b)+?c\b(?!d)", "abac abc abcd bc"),
        (r"(?<=://)[^/@\s]+(?=@)", "x://me@y ://a/b@ ://c@"),
        (r"(\w)\1", "abccdd"),
        (r"x*", "axxb"),
        (r"(?i:Bearer)\s+\d{2,3}", "bEARER 1234 Bearer 12"),
        (r"(a*)*b", "aaab"),
        (r"^$|\d{3,}\b", "123 1234a\n999"),
        (r"(?:ab|a)(?>bc|b)?c", "abc abbc ac abcc"),
        (r"[^\W\d_]+|\S{2}", "é1_ ab__ 12"),
        (r"(?m:^b$)|\Bc\B", "a\nb\nacb"),
        (r"(?:a{2,4}?|b){2}a", "aaaaaaaabba"),
    ],
)
def test_the_count_agrees_with_re(pattern, text):
    for compiled in (re.compile(pattern), re.compile(pattern, re.DOTALL | re.ASCII)):
        for use in ("finditer", "search", "match", "fullmatch"):
            assert count_steps(compiled, use, text) > 0


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_linear_in_its_input(name):
    loop = LOOPS[name]

    few, many = (steps_of(loop.run, loop.make(loop.least * times)) for times in (1, TIMES))

    assert many < LESS_THAN * few, f"{few} steps became {many}"


def test_the_count_finds_loops_that_are_not_linear():
    def once(pairs: list[tuple[str, int]]) -> None:
        names = [name for name, _ in pairs]
        assert next((name for name in names if names.count(name) > 1), None)

    def in_lines(text: str) -> None:
        for _ in text:
            for _ in text:
                pass

    pairs = [[(f"k{n % (size - 1)}", n) for n in reversed(range(size))] for size in (50, 400)]
    calls = [steps_of(once, [*many[1:], many[0]]) for many in pairs]
    lines = [steps_of(in_lines, "x" * size) for size in (10, 80)]

    assert calls[1] > LESS_THAN * calls[0]
    assert lines[1] > LESS_THAN * lines[0]
