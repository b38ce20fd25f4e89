"""Who may see and do what, in plain Python: a table, and the world that it is asked about.

It is written from the page that promises it and knows nothing of the engine's rules.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.people import GROUP, TIMES, fill, join

Row = dict[str, Any]

# Every field at the doors, and whether it is private: a person's own, and staff's.
FIELDS: dict[str, dict[str, bool]] = {
    "User": {
        "id": False, "first_name": False, "last_name": False, "active": False, "created_at": False,
        "updated_at": False, "version": False, "email": True, "age": True, "external_id": True,
    },
    "Group": dict.fromkeys(("id", "name", "description", "active", "created_at", "updated_at", "version"), False),
    "Key": dict.fromkeys(
        ("id", "name", "role", "scopes", "expires_at", "rate", "active", "created_at", "updated_at", "version"), False
    ),
}  # fmt: skip
RELATIONS = {"User": {"groups"}, "Group": {"members"}, "Key": set[str]()}
RESOURCES = {"User": "users", "Group": "groups", "Key": "keys"}
# Every operation that changes something, by its name at REST and as a mutation.
WRITES = {
    "create User": ("createUser", "createUser"),
    "update User": ("updateUser", "updateUser"),
    "delete User": ("deleteUser", "deleteUser"),
    "activate User": ("activateUser", "activateUser"),
    "deactivate User": ("deactivateUser", "deactivateUser"),
    "create Group": ("createGroup", "createGroup"),
    "update Group": ("updateGroup", "updateGroup"),
    "delete Group": ("deleteGroup", "deleteGroup"),
    "add member": ("putGroupMember", "addGroupMember"),
    "set role": (None, "setGroupMemberRole"),
    "remove member": ("removeGroupMember", "removeGroupMember"),
    "create Key": ("createKey", "createKey"),
    "update Key": ("updateKey", "updateKey"),
    "delete Key": ("deleteKey", "deleteKey"),
    "revoke Key": ("revokeKey", "revokeKey"),
}
READS = {
    "listUsers", "getUser", "listUserGroups", "listGroups", "getGroup", "listGroupMembers", "getGroupMember",
    "listKeys", "getKey", "getMe",
}  # fmt: skip
FOR_ALL_WITH_A_CREDENTIAL = {"greet", "greeting"}


@dataclass(frozen=True)
class Who:
    """Somebody with a credential, or nobody."""

    name: str
    headers: Row = field(default_factory=dict, hash=False)
    person: str | None = None
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    known: bool = True

    @property
    def staff(self) -> bool:
        return bool(self.roles & {"editor", "admin"})

    def within(self, kind: str, deed: str) -> bool:
        """What the scopes of a key leave of it."""
        names = {deed, f"{RESOURCES[kind]}:{deed}", "write", f"{RESOURCES[kind]}:write"}
        return not self.scopes or bool(self.scopes & names)

    def sees(self, kind: str) -> bool:
        """Whether records of a kind are shown to them at all."""
        if kind == "Key":
            return "admin" in self.roles
        return self.person is not None or bool(self.roles)

    def view(self, kind: str, row: Row) -> Row:
        """A record as they see it."""
        open_to = self.staff or row["id"] == self.person
        return {name: row[name] if open_to or not private else None for name, private in FIELDS[kind].items()}

    def may(self, deed: str, world: World, id: str, fields: Iterable[str] = ()) -> bool:
        """Whether they may do this to a record that is there."""
        verb, kind = deed.split()
        if kind in ("member", "role"):
            return self.staff or world.members.get((id, self.person or "")) == "owner"
        if kind == "Key":
            return "admin" in self.roles
        own = kind == "User" and id == self.person and set(fields) <= {"first_name", "last_name", "age"}
        return self.staff or (verb == "update" and own)


@dataclass
class World:
    """All that there is, as the database has it."""

    records: dict[str, dict[str, Row]]
    members: dict[tuple[str, str], str]

    @classmethod
    def read(cls, database: Path) -> World:
        with closing(sqlite3.connect(database)) as connection:
            connection.row_factory = sqlite3.Row
            records = {
                kind: {row["id"]: _row(kind, row) for row in connection.execute(f'SELECT * FROM "{kind.lower()}"')}
                for kind in FIELDS
            }
            links = connection.execute("SELECT group_id, user_id, role FROM membership").fetchall()
        return cls(records, {(row["group_id"], row["user_id"]): row["role"] for row in links})

    def below(self, kind: str, id: str) -> list[tuple[Row, str]]:
        """The members of a group, or the groups of a person, each with the role."""
        near, far, other = (0, 1, "User") if kind == "Group" else (1, 0, "Group")
        found = [(self.records[other][key[far]], role) for key, role in self.members.items() if key[near] == id]
        return sorted(found, key=lambda pair: str(pair[0]["id"]))


def _row(kind: str, row: sqlite3.Row) -> Row:
    return {name: bool(row[name]) if name == "active" else row[name] for name in FIELDS[kind]}


def furnish(database: Path, chance: random.Random) -> None:
    """A few people and groups, joined by chance."""
    people = [_person(number, chance) for number in range(9)]
    groups = [_group(number) for number in range(5)]
    members = {group["id"]: chance.sample(people, chance.randrange(0, 6)) for group in groups}
    owners = [(id, person["id"]) for id, those in members.items() for person in those if chance.random() < 0.3]
    fill(database, people)
    fill(database, groups, GROUP)
    join(database, members, owners)


def _person(number: int, chance: random.Random) -> Row:
    return _record(1, number) | {
        "first_name": chance.choice(["Ada", "Bob", "Eve"]),
        "last_name": chance.choice([None, "Lovelace", "Zoë"]),
        "age": chance.choice([20, 36, 36, 77]),
        "email": chance.choice([None, f"Person{number}@example.com"]) if number else "person0@example.com",
        "external_id": f"ext-{number}",
    }


def _group(number: int) -> Row:
    return _record(2, number) | {"name": f"Group {number}", "description": None}


def _record(kind: int, number: int) -> Row:
    times = {"created_at": TIMES[number % len(TIMES)], "updated_at": TIMES[0]}
    return {"id": f"{number:08x}-{kind}222-7222-8222-222222222222", "active": number % 5 != 4, **times, "version": 1}
