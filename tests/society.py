"""A small society, who may come to its doors, and what each of them may do: the table of rights in plain Python.

It knows nothing of the engine's rules; it is what they are held against.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schema.engine.policy import Actor
from tests.people import GROUP, TIMES, fill, join

Row = dict[str, Any]
PRIVATE = {"email", "age", "external_id"}
OWN_TO_CHANGE = {"first_name", "last_name", "age"}


def _row(number: int, **fields: Any) -> Row:
    times = {"created_at": TIMES[0], "updated_at": TIMES[0]}
    return {"id": f"{number:08x}-2222-7222-8222-222222222222", **fields, "active": True, **times, "version": 1}


def _person(number: int, name: str, age: int) -> Row:
    email, external_id = f"{name.lower()}@example.com", f"ext-{name}"
    return _row(number, first_name=name, last_name=f"Mc{name}", age=age, email=email, external_id=external_id)


ADA, BOB, EVE = PEOPLE = [_person(1, "Ada", 36), _person(2, "Bob", 20), _person(3, "Eve", 50)]
ENGINE, CHOIR = GROUPS = [_row(number, name=name, description=None) for number, name in ((8, "Engine"), (9, "Choir"))]
MEMBERS = {ENGINE["id"]: [ADA, BOB], CHOIR["id"]: [BOB]}
OWNERS = {(ENGINE["id"], ADA["id"])}

ACTORS: dict[str, Actor | None] = {
    "without a credential": None,
    "nobody": Actor(),
    "nobody with a scope": Actor(scopes=frozenset({"write"})),
    "owner": Actor(id=ADA["id"]),
    "member": Actor(id=BOB["id"]),
    "person": Actor(id=EVE["id"]),
    "gone": Actor(id="00000063-2222-7222-8222-222222222222"),
    "reader": Actor(roles=frozenset({"reader"})),
    "reading owner": Actor(id=ADA["id"], roles=frozenset({"reader"})),
    "editor": Actor(roles=frozenset({"editor"})),
    "editing person": Actor(id=EVE["id"], roles=frozenset({"editor", "reader"})),
    "admin": Actor(roles=frozenset({"admin"})),
}


def furnish(database: Path) -> None:
    """Put the society into a database."""
    fill(database, PEOPLE)
    fill(database, GROUPS, GROUP)
    join(database, MEMBERS, OWNERS)


def is_staff(actor: Actor) -> bool:
    return bool(actor.roles & {"editor", "admin"})


def sees_records(actor: Actor) -> bool:
    return actor.id is not None or bool(actor.roles)


def sees_all_of(actor: Actor, user: Row) -> bool:
    return is_staff(actor) or actor.id == user["id"]


def shown(actor: Actor, user: Row) -> Row:
    """A user as an actor sees it."""
    return user if sees_all_of(actor, user) else {**user, **dict.fromkeys(PRIVATE)}


def may_change(actor: Actor, user: Row, fields: set[str]) -> bool:
    return is_staff(actor) or (actor.id == user["id"] and fields <= OWN_TO_CHANGE)


def may_manage(actor: Actor, group: Row) -> bool:
    """Whether an actor decides who belongs to a group."""
    return is_staff(actor) or (group["id"], actor.id) in OWNERS
