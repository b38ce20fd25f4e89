"""A directory full of awkward people, and what lists of them ought to be, in plain Python."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from schema.engine.dialect import postgres as dialect
from schema.engine.shape import Shape, shape
from schema.engine.writes import columns_of, insertion
from schema.models import RESOURCES
from tests.postgres import run_many

Row = dict[str, Any]
HASTE = "PRAGMA synchronous=OFF"  # what is put there for a test need not outlive a power failure
USER, GROUP = (next(made for made in map(shape, RESOURCES) if made.name == name) for name in ("User", "Group"))

# Names that sort and fold differently by code point, by locale, by bytes of UTF-16, and in upper and lower case.
NAMES = [
    "Ada", "ADA", "ada", "Adam", "Éva", "éva", "eva", "Eva", "Zoë", "Ångström", "ångström", "ß", "SS", "İstanbul",
    "istanbul", "ǅ", "Ωmega", "ωmega", "Σίσυφος", "中村", "\ufb01x", "\uffee", "👩 Ada", "\U0010ffff",
    "_", "%", "a_b", "a%b", "O'Neil", "a", "a b", "~", "[x]", "\\", "\ue000", "\ud7ff",
]  # fmt: skip
AGES = [0, 1, 35, 36, 36, 36, 37, 150]
TIMES = [f"2026-01-0{day}T00:00:00.{micro:06}Z" for day in (1, 2, 3) for micro in (0, 1, 999999)]


def made_up(count: int, seed: int = 1) -> list[Row]:
    """People with many ties and many gaps, their ids in no order of anything else."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        name = chance.choice(NAMES)
        rows.append(
            {
                "id": f"{chance.getrandbits(32):08x}-0000-7000-8000-{number:012x}",
                "first_name": name,
                "last_name": chance.choice([*[None] * 8, *NAMES]),
                "age": chance.choice(AGES),
                "email": chance.choice([None, f"{name.replace(' ', '')}.{number}@Example.com"]),
                "external_id": chance.choice([None, f"{chance.choice('aAbB')}{number}"]),
                "active": chance.random() < 0.7,
                "created_at": chance.choice(TIMES),
                "updated_at": chance.choice(TIMES),
                "version": 1,
            }
        )
    return rows


PEOPLE = made_up(47)
GROUPS: list[Row] = [
    {
        "id": f"{number:08x}-1111-7111-8111-111111111111",
        "name": f"Group {number}",
        "description": None,
        "active": True,
        "created_at": TIMES[0],
        "updated_at": TIMES[0],
        "version": 1,
    }
    for number in range(8)
]
# Group 0 has everybody, group 1 every other one, group 2 every third …, and the last has nobody.
MEMBERS = {group["id"]: PEOPLE[:: number + 1] for number, group in enumerate(GROUPS[:-1])}


def fill(database: Path | str, rows: Iterable[Row], made: Shape = USER) -> None:
    """Put records into a database, their ids and times as given."""
    statement = insertion(made)
    if isinstance(database, str):
        statement = statement.on(dialect())
        run_many(database, statement.sql, [statement.bind(columns_of(made.fields, row)) for row in rows])
        return
    with sqlite3.connect(database, isolation_level=None) as connection:
        connection.execute(HASTE)
        connection.execute("BEGIN")
        for row in rows:
            connection.execute(statement.sql, statement.bind(columns_of(made.fields, row)))
        connection.execute("COMMIT")
    connection.close()


def remove(database: Path | str, rows: Iterable[Row]) -> None:
    """Delete people behind the service's back."""
    gone = [(row["id"],) for row in rows]
    if isinstance(database, str):
        run_many(database, 'DELETE FROM "user" WHERE id = $1', gone)
        return
    with sqlite3.connect(database) as connection:
        connection.execute(HASTE)
        connection.executemany("DELETE FROM user WHERE id = ?", gone)
    connection.close()


def join(database: Path | str, members: Mapping[str, Iterable[Row]], owners: Iterable[tuple[str, str]] = ()) -> None:
    """Put people into groups; those in `owners` (group, person) as owners."""
    owning = set(owners)
    rows = [
        (group, person["id"], "owner" if (group, person["id"]) in owning else "member", TIMES[0])
        for group, people in members.items()
        for person in people
    ]
    if isinstance(database, str):
        run_many(database, "INSERT INTO membership (group_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)", rows)
        return
    with sqlite3.connect(database) as connection:
        connection.execute(HASTE)
        connection.executemany("INSERT INTO membership (group_id, user_id, role, created_at) VALUES (?, ?, ?, ?)", rows)
    connection.close()


def in_order(rows: Iterable[Row], sort: str) -> list[Row]:
    """Sorted as `sort` says: null is the least value, text goes by code point, the id follows in the same direction."""
    fields = [name.removeprefix("-") for name in sort.split(",")]
    return sorted(rows, key=lambda row: key_of(row, fields), reverse=sort.startswith("-"))


def lower(text: str) -> str:
    return "".join(char.lower() for char in text)


def in_default_order(rows: Iterable[Row], asked: Iterable[tuple[str, str, Any]]) -> list[Row]:
    """Sorted as a list comes of itself: by the first field of which a stretch is asked for, else by the id."""
    stretches = {
        (field, operator)
        for field, operator, value in asked
        if operator in ("lt", "lte", "gt", "gte", "startswith")
        or (operator == "isnull" and value is False and USER.fields[field].nullable)
    }
    field = next((name for name in USER.fields if name in {name for name, _ in stretches}), "id")
    if (field, "startswith") in stretches:
        return sorted(rows, key=lambda row: (lower(row[field] or ""), row["id"]))
    return in_order(rows, field)


def has_words(row: Row, words: str) -> bool:
    """Whether each of the words is somewhere in a name."""
    names = [lower(row[field] or "") for field in ("first_name", "last_name")]
    return all(any(lower(word) in name for name in names) for word in words.split())


def key_of(row: Row, fields: Iterable[str]) -> list[Any]:
    return [(False,) if row[name] is None else (True, row[name]) for name in (*fields, "id")]


def sorts() -> list[str]:
    """Every order that lists of users offer, as REST spells them."""
    return [",".join(f"{minus}{name}" for name in fields) for fields in USER.sorts for minus in ("", "-")]
