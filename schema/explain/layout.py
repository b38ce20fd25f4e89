"""SQL with a clause on each line. The text is the same but for the space between its words."""

from __future__ import annotations

import re
import textwrap

WIDTH = 116
_WORDS = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]|[^\s'"()]+|\s+""")
_CLAUSES = {"SELECT", "FROM", "WHERE", "ORDER", "GROUP", "LIMIT", "UNION", "INSERT", "VALUES", "UPDATE", "SET"}
_CLAUSES |= {"DELETE", "RETURNING", "JOIN", "AND", "OR", "ON"}
_HANGING = {"JOIN", "AND", "OR", "ON"}
_UNBROKEN = {("DO", "UPDATE"), ("JOIN", "ON"), ("INSERT", "OR")}


def laid_out(sql: str) -> list[str]:
    """The lines of a statement, those of a subquery further in."""
    lines, inside = [""], [True]
    words = [word if word.strip() else " " for word in _WORDS.findall(sql.strip())]
    last = ""
    for number, word in enumerate(words):
        if word == "(":
            following = next((it for it in words[number + 1 :] if it != " "), "")
            lines[-1] += word
            inside.append(following == "SELECT")
        elif word == ")":
            if inside.pop():
                lines.append(_indent(inside))
            lines[-1] += word
        elif inside[-1] and word in _CLAUSES and not _stays(last, word):
            lines.append(_indent(inside) + ("  " if word in _HANGING else "") + word)
        elif word != " " or lines[-1].strip():
            lines[-1] += word
        last = word if word in _CLAUSES or word == "DO" else last
    return [part for line in lines if line.strip() for part in _wrapped(line.rstrip())]


def _stays(last: str, word: str) -> bool:
    return (last, word) in _UNBROKEN


def _indent(inside: list[bool]) -> str:
    return "    " * sum(inside[1:])


def _wrapped(line: str) -> list[str]:
    hanging = " " * (len(line) - len(line.lstrip()) + 4)
    width = max(WIDTH, len(hanging) + 40)
    return textwrap.wrap(
        line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
