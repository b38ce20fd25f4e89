"""Who is in the directory: the same people, groups and memberships in every database, however often they are made.

Each row follows from its number alone, so nothing has to be kept in memory, and a request can be made for any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

Row = dict[str, Any]

USERS_IN_A_GROUP = 300
GROUPS_OF_A_USER = 3
NUMBERS = 10_000
# Opens the databases that benchmarks make, and nothing else.
KEY_SECRET = blake2b(b"benchmarks", digest_size=20).hexdigest()
KEY = f"tdm_{1:032x}_{KEY_SECRET}"


def _words(text: str) -> list[str]:
    return text.split()


_BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
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
_KINDS = _words("Engine Survey Archive Library Orchestra Workshop Council Reading Tower Garden Kitchen Press")
_MESSAGES = (
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
    """How large a directory is: everything follows from the number of its users."""

    users: int = 100_000

    @property
    def groups(self) -> int:
        """Every group has as many members, on average, whatever the size."""
        return self.users * GROUPS_OF_A_USER // USERS_IN_A_GROUP

    @property
    def memberships(self) -> int:
        """Everybody is in as many groups."""
        return self.users * GROUPS_OF_A_USER


def user_id(number: int) -> str:
    """A user's id, a UUIDv7: those with higher numbers sort later."""
    return _id("user", number)


def group_id(number: int) -> str:
    """A group's id."""
    return _id("group", number)


def email_of(number: int) -> str | None:
    """A user's address, if they have one."""
    return None if number % 20 == 7 else f"Person.{number}@example.com"


def users(size: Size) -> Iterator[Row]:
    """All users, in the order of their ids."""
    return (user(number) for number in range(size.users))


def user(number: int) -> Row:
    """The user with a number, from 0."""
    chance, moment = _chance("person", number), _moment(number)
    return {
        "id": user_id(number),
        "first_name": _FIRST[chance % len(_FIRST)],
        "last_name": None if number % 25 == 4 else _LAST[chance // 64 % len(_LAST)],
        "age": 18 + chance // 4096 % 80,
        "email": email_of(number),
        "external_id": f"00u{number:08x}" if number % 3 == 0 else None,
        "active": number % 10 != 3,
        "created_at": moment,
        "updated_at": moment,
        "version": 1,
    }


def groups(size: Size) -> Iterator[Row]:
    """All groups, in the order of their ids."""
    for number in range(size.groups):
        moment = _moment(number)
        yield {
            "id": group_id(number),
            "name": f"{_LAST[number % len(_LAST)]} {_KINDS[number % len(_KINDS)]} {number}",
            "description": None if number % 4 == 1 else f"Meets on day {number % 31 + 1}.",
            "active": number % 10 != 3,
            "created_at": moment,
            "updated_at": moment,
            "version": 1,
        }


def memberships(size: Size) -> Iterator[Row]:
    """Who is in which groups."""
    for number in range(size.users):
        moment = _moment(number)
        for place, group in enumerate(groups_of(number, size)):
            yield {
                "group_id": group_id(group),
                "user_id": user_id(number),
                "role": "owner" if place == 0 and number % 20 == 0 else "member",
                "created_at": moment,
            }


def groups_of(number: int, size: Size) -> list[int]:
    """The groups that a user is in, by their numbers: different ones, chosen far apart."""
    chance = _chance("groups", number)
    step = 1 + chance // 2**32 % max(1, (size.groups - 1) // GROUPS_OF_A_USER)
    return [(chance + place * step) % size.groups for place in range(min(GROUPS_OF_A_USER, size.groups))]


def number_of(place: int) -> int:
    """The random number in the row at a place, from 1, of the table that TechEmpower's kinds read."""
    return 1 + _chance("number", place) % NUMBERS


def messages() -> Iterator[tuple[int, str]]:
    """The fortunes: few, one of them not ASCII, one of them a script that must not run."""
    return enumerate(_MESSAGES, 1)


def _id(kind: str, number: int) -> str:
    milliseconds = int(_when(number).timestamp() * 1000)
    bits = _chance(kind, number)
    value = milliseconds << 80 | 7 << 76 | (bits >> 64 & 0xFFF) << 64 | 0b10 << 62 | bits & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _moment(number: int) -> str:
    return _when(number).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _when(number: int) -> datetime:
    return _BEGINNING + timedelta(milliseconds=number * 7)


def _chance(what: str, number: int) -> int:
    """A number that looks drawn, and is the same every time."""
    return int.from_bytes(blake2b(f"{what} {number}".encode(), digest_size=10).digest(), "big")
