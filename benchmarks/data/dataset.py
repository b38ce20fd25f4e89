"""The data set: the same users, groups and memberships in every database, generated from their numbers.

Each row follows from its number alone, so nothing is kept in memory, and a request can be generated for any row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

Row = dict[str, Any]

USERS_PER_GROUP = 300
GROUPS_PER_USER = 3
WORLD_ROWS = 10_000
# The API key of the benchmarks' own databases; it is valid nowhere else.
KEY_SECRET = blake2b(b"benchmarks", digest_size=20).hexdigest()
KEY = f"tdm_{1:032x}_{KEY_SECRET}"


def _words(text: str) -> list[str]:
    return text.split()


_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_FIRST = _words(
    "Ada Grace Alan Mary Charles Emmy Blaise Zoë Søren Joaquín Sofia Olga Hedy Ida Kurt Édouard Nils Ana Łucja Tove "
    "Yuki Rosa Émilie Chien Rita Jean Katherine Annie Edith Radia Barbara Frances Lise Maria Dorothy Ingrid Björn "
    "Aoife Noor Wei"
)
_LAST = _words(
    "Lovelace Hopper Turing Somerville Babbage Noether Pascal Kovalevskaya Lamarr Gödel Žižek Kjærsgård Ångström "
    "Peña Meitner Curie Hodgkin Borg Clarke Franklin Germain Hamilton Johnson Jones Kay Liskov Mirzakhani Nightingale "
    "Perlman Quimby Rubin Stroustrup Tereshkova Uhlenbeck Vaughan Wu Xu Yonath Zuse Østergaard"
)
_GROUP_NAMES = _words("Engine Survey Archive Library Orchestra Workshop Council Reading Tower Garden Kitchen Press")
_FORTUNES = (
    "A ship in harbour is safe, but that is not what ships are for.",
    "An index that nobody reads is written on every insert all the same.",
    "Any table grows until it meets a query without an index.",
    "Caching is easy to begin and hard to end.",
    "<script>alert('This should not be displayed.');</script>",
    "Fast answers to the wrong question are still wrong.",
    "フレームワークのベンチマーク",
    "It works on one core; that is why two were bought.",
    "Measure twice & cut once.",
    'The "quick" fix is the one that is made every year.',
    "What is not measured gets slower.",
    "Whoever wins a benchmark wrote it.",
)


@dataclass(frozen=True, slots=True)
class Size:
    """The number of users; everything else follows from it."""

    users: int = 100_000

    @property
    def groups(self) -> int:
        """Proportional to users, so that a group's average number of members does not depend on the size."""
        return self.users * GROUPS_PER_USER // USERS_PER_GROUP

    @property
    def memberships(self) -> int:
        return self.users * GROUPS_PER_USER


def user_id(number: int) -> str:
    """A UUIDv7; ids sort by number."""
    return _id("user", number)


def group_id(number: int) -> str:
    return _id("group", number)


def email_of(number: int) -> str | None:
    """A user's e-mail address; some have none."""
    return None if number % 20 == 7 else f"Person.{number}@example.com"


def users(size: Size) -> Iterator[Row]:
    """All users in the order of their ids."""
    return (user(number) for number in range(size.users))


def user(number: int) -> Row:
    """The user with a number, from 0."""
    random, timestamp = _random("person", number), _timestamp(number)
    return {
        "id": user_id(number),
        "first_name": _FIRST[random % len(_FIRST)],
        "last_name": None if number % 25 == 4 else _LAST[random // 64 % len(_LAST)],
        "age": 18 + random // 4096 % 80,
        "email": email_of(number),
        "external_id": f"00u{number:08x}" if number % 3 == 0 else None,
        "active": number % 10 != 3,
        "created_at": timestamp,
        "updated_at": timestamp,
        "version": 1,
    }


def groups(size: Size) -> Iterator[Row]:
    """All groups in the order of their ids."""
    for number in range(size.groups):
        timestamp = _timestamp(number)
        yield {
            "id": group_id(number),
            "name": f"{_LAST[number % len(_LAST)]} {_GROUP_NAMES[number % len(_GROUP_NAMES)]} {number}",
            "description": None if number % 4 == 1 else f"Meets on day {number % 31 + 1}.",
            "active": number % 10 != 3,
            "created_at": timestamp,
            "updated_at": timestamp,
            "version": 1,
        }


def memberships(size: Size) -> Iterator[Row]:
    for number in range(size.users):
        timestamp = _timestamp(number)
        for position, group in enumerate(group_numbers(number, size)):
            yield {
                "group_id": group_id(group),
                "user_id": user_id(number),
                "role": "owner" if position == 0 and number % 20 == 0 else "member",
                "created_at": timestamp,
            }


def group_numbers(number: int, size: Size) -> list[int]:
    """The numbers of the groups that a user is in."""
    random = _random("groups", number)
    step = 1 + random // 2**32 % max(1, (size.groups - 1) // GROUPS_PER_USER)
    return [(random + position * step) % size.groups for position in range(min(GROUPS_PER_USER, size.groups))]


def random_number(position: int) -> int:
    """The random number of a row in TechEmpower's `world` table, by its position from 1."""
    return 1 + _random("number", position) % WORLD_ROWS


def fortunes() -> Iterator[tuple[int, str]]:
    """TechEmpower's fortunes, numbered from 1; one is not ASCII, one is a script that must be escaped."""
    return enumerate(_FORTUNES, 1)


def _id(table: str, number: int) -> str:
    milliseconds = int(_time(number).timestamp() * 1000)
    bits = _random(table, number)
    value = milliseconds << 80 | 7 << 76 | (bits >> 64 & 0xFFF) << 64 | 0b10 << 62 | bits & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _timestamp(number: int) -> str:
    return _time(number).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(number: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=number * 7)


def _random(name: str, number: int) -> int:
    """A pseudo-random number that depends on the arguments alone."""
    return int.from_bytes(blake2b(f"{name} {number}".encode(), digest_size=10).digest(), "big")
