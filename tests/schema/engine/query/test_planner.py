"""A plan is a pure function of what is asked and of the kind of actor: it serves all of that kind, and betrays none."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from schema.engine.model.policy import ActorProfile
from schema.engine.operations.directory import Directory
from schema.engine.query import planner
from schema.engine.query.plan_cache import PlanCache
from schema.engine.query.planner import Plan, plan_list, plan_record
from schema.engine.query.selection import (
    Compare,
    Items,
    Junction,
    ListSelection,
    NextCursor,
    Order,
    Page,
    PageInfo,
    Scalar,
    Selection,
    Total,
)
from schema.engine.sql.statement import Statement
from tests.conftest import empty_plans, over
from tests.fixtures import access_table
from tests.fixtures.access_table import ACTORS, ADA, BOB, ENGINE, EVE
from tests.fixtures.clients import USER, GraphQLClient, Refused, RestClient

IDENTIFIED = ActorProfile(identified=True)
ADMIN = ActorProfile(frozenset({"admin"}))
ITEM = Selection((("id", Scalar("id")), ("email", Scalar("email"))))
NESTED = ListSelection((("nodes", Items(ITEM)), ("total", Total())), Page("m"), "members")
GROUPS = ListSelection(
    (("nodes", Items(Selection((("name", Scalar("name")), ("members", NESTED))))),), Page("n", "after"), "groups"
)
BRANCH = ListSelection(
    (
        ("items", Items(Selection((*ITEM.picks, ("groups", GROUPS))))),
        ("next", NextCursor()),
        ("info", PageInfo((("more", "has_next"),))),
    ),
    Page("size", after="after", before="before"),
    where=Junction("or", (Compare("age", "gte", "x"), Junction("not", (Compare("email", "in", "y"),)))),
    order=Order(("last_name", "first_name"), True),
)


@pytest.fixture
def plans(store):
    """The test's own, so that it knows what was planned."""
    return empty_plans(store)


@pytest.fixture
def database(database):
    """A database with the small society in it."""
    access_table.furnish(database)
    return database


def test_the_same_question_is_the_same_plan():
    for _ in range(3):
        one, other = (plan_list(USER, BRANCH, ADMIN) for _ in range(2))
        assert one.statement.sql == other.statement.sql
        assert (
            plan_record(USER, Selection((("g", GROUPS),)), IDENTIFIED).statement.sql
            == plan_record(USER, Selection((("g", GROUPS),)), IDENTIFIED).statement.sql
        )


def test_planning_touches_no_database():
    functions = [it for _, it in inspect.getmembers(planner, inspect.isfunction) if it.__module__ == planner.__name__]
    imported = {it.__module__ for it in vars(planner).values() if hasattr(it, "__module__")}

    assert plan_list in functions
    assert not any(map(inspect.iscoroutinefunction, functions))
    assert not [name for name in imported if name.endswith(("database", "sqlite", "lane"))]


def test_a_rule_changes_the_plan_only_by_the_kind_of_actor():
    assert len({actor.profile for actor in KIN}) == 1
    assert (
        plan_list(USER, GROUPS_OF_ALL, ADMIN).statement.sql != plan_list(USER, GROUPS_OF_ALL, IDENTIFIED).statement.sql
    )


GROUPS_OF_ALL = ListSelection((("items", Items(ITEM)),), Page("n"))


class Anything(dict[str, Any]):
    """Values of a request of which a plan can know nothing: whatever it takes is a token of its own."""

    def __missing__(self, name):
        return Token(name)


class Token(str):
    __slots__ = ()


def statements_of(plans: PlanCache):
    """Everything that was planned, by what it was planned for."""
    found: dict[Any, Statement] = {}
    for key, plan in plans.items():
        several = [plan.statement, plan.batch] if isinstance(plan, Plan) else [plan]
        found |= {(key, number): it for number, it in enumerate(several) if isinstance(it, Statement)}
    return found


ASKED = [
    {"sort": "-age", "age__gte": "{number}", "size": "{number}"},
    {"email": "{text}@example.com", "first_name__startswith": "{text}"},
    {"age__in": ["{number}", "{number}"], "id": "{id}"},
    {"active": True, "created_at__gt": "20{number}-01-01T00:00:00Z"},
]


def filled(asked, number, text, id):
    """A question with its values put in."""

    def fill(value):
        if isinstance(value, list):
            return [fill(it) for it in value]
        if value == "{number}":
            return number
        return value.format(number=number, text=text, id=id) if isinstance(value, str) else value

    return {name: fill(value) for name, value in asked.items()}


def requests(client, number, text, id):
    """One of each kind of request, with these values; whether it is granted does not matter."""

    def find(asked):
        page = client.find("user", **filled(asked, number, text, id))
        if page.next:
            client.find("user", **filled(asked, number, text, id), after=page.next)

    deeds: list[Callable[..., Any]] = [
        *(partial(find, asked) for asked in ASKED),
        lambda: client.get("user", id),
        lambda: client.find("user", ("groups", id), size=number),
        lambda: client.update("user", id, if_version=number, first_name=text),
        lambda: client.update("user", id, last_name=text, age=number),
        lambda: client.delete("user", id, if_version=number),
        lambda: client.call("deactivate", "user", id, if_version=number),
        lambda: client.link("group", ENGINE["id"], "members", id),
        lambda: client.link("group", ENGINE["id"], "members", id, role="owner"),
        lambda: client.unlink("group", ENGINE["id"], "members", id),
        lambda: client.create("user", first_name=text, age=number, email=f"{text}@example.com"),
    ]
    for deed in deeds:
        with contextlib.suppress(Refused):
            deed()


KIN = [actor for actor in ACTORS.values() if actor and actor.id and not actor.roles]
OURS = (0, 1, 29, 30, "owner", "member")  # constants of rules and of the planner itself
ZEBRA = (73, "zebra", "00000001-2222-7222-8222-222222222222")
QUAGGA = (91, "quagga", "00000002-2222-7222-8222-222222222222")


@pytest.mark.sqlite
@pytest.mark.parametrize("name", ["admin", "owner"])
def test_nothing_of_a_request_is_in_a_plan(client, http_client, name):
    requests(client.by(ACTORS[name]), *ZEBRA)

    planned = statements_of(http_client.app.state.directory.plans)
    assert len(planned) > 5
    for key, statement in planned.items():
        bound = statement.bind(Anything())
        strange = [value for value in bound if not isinstance(value, Token) and value not in OURS]
        assert not strange, statement.sql
        for text in (statement.sql, repr(key)):
            assert not re.search(r"zebra|\b73\b|\b00000001\b", text)


def test_other_values_need_no_other_plan(client, http_client):
    plans = http_client.app.state.directory.plans
    requests(client, *ZEBRA)
    planned = set(statements_of(plans))

    requests(client, *QUAGGA)

    assert set(statements_of(plans)) == planned


def test_another_person_needs_no_other_plan(client, http_client):
    plans = http_client.app.state.directory.plans
    requests(client.by(ACTORS["owner"]), *ZEBRA)
    planned = set(statements_of(plans))

    requests(client.by(ACTORS["person"]), *ZEBRA)

    assert set(statements_of(plans)) == planned


def answers(client):
    """What an actor is told to one question about each rule; nothing is changed by it."""

    def told(deed):
        try:
            return deed()
        except Refused as refused:
            return refused.code, refused.detail

    deeds: list[Callable[..., Any]] = [
        client.me,
        lambda: client.find("user", count="exact").items,
        lambda: client.find("user", sort="-age").items,
        lambda: client.find("user", email__startswith="a").items,
        lambda: client.find("group").items,
        lambda: client.find("group", ("members", ENGINE["id"])).items,
        lambda: client.create("user", first_name="Ada", age=1, email=ADA["email"]),
        lambda: client.create("group", name=ENGINE["name"]),
        lambda: client.update("group", ENGINE["id"]),
        lambda: client.delete("group", ENGINE["id"], if_version=2),
    ]
    for user in (ADA, BOB, EVE):
        for_each: list[Any] = [
            lambda user=user: client.get("user", user["id"]),
            lambda user=user: client.find("user", ("groups", user["id"])).items,
            lambda user=user: client.update("user", user["id"]),
            lambda user=user: client.update("user", user["id"], age=user["age"]),
            lambda user=user: client.update("user", user["id"], email=user["email"]),
            lambda user=user: client.delete("user", user["id"], if_version=2),
            lambda user=user: client.call("activate", "user", user["id"]),
            lambda user=user: (
                client.unlink("group", access_table.CHOIR["id"], "members", user["id"]) if user is not BOB else None
            ),
            lambda: client.link("group", ENGINE["id"], "members", BOB["id"]),
        ]
        deeds += for_each
    return [told(deed) for deed in deeds]


@pytest.mark.parametrize("kind", [RestClient, GraphQLClient], ids=lambda kind: kind.name)
def test_what_was_planned_for_one_actor_is_right_for_every_other(kind, service, actors, database):
    people = {name: kind(service, actors, actor) for name, actor in ACTORS.items() if actor}
    alone = {}
    for name, client in people.items():
        with over(service, Directory(str(database))):
            alone[name] = answers(client)

    kin = [name for name, client in people.items() if client.actor in KIN]
    for order in (list(people), *(kin[number:] + kin[:number] for number in range(len(kin)))):
        with over(service, Directory(str(database))):
            for name in order:
                assert answers(people[name]) == alone[name], order

    assert len({repr(told) for told in alone.values()}) > 6


def test_the_least_used_plans_are_forgotten():
    plans = PlanCache(most=3)
    made: list[str] = []

    def make(name):
        made.append(name)
        return name

    for name in "abcadbe":
        plans.get_or_make(name, partial(make, name))

    assert made == ["a", "b", "c", "d", "b", "e"]
    assert len(plans) == 3
