"""A plan follows from selection and actor profile alone, holds no values, and serves all actors of the profile."""

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
from tests.conftest import new_plan_cache, using_directory
from tests.fixtures import access_table
from tests.fixtures.access_table import ACTORS, ADA, BOB, ENGINE, EVE
from tests.fixtures.clients import USER, ApiError, GraphQLClient, RestClient

IDENTIFIED = ActorProfile(identified=True)
ADMIN = ActorProfile(frozenset({"admin"}))
ITEM = Selection((("id", Scalar("id")), ("email", Scalar("email"))))
NESTED = ListSelection((("nodes", Items(ITEM)), ("total", Total())), Page("m"), "members")
GROUPS = ListSelection(
    (("nodes", Items(Selection((("name", Scalar("name")), ("members", NESTED))))),), Page("n", "after"), "groups"
)
LIST = ListSelection(
    (
        ("items", Items(Selection((*ITEM.members, ("groups", GROUPS))))),
        ("next", NextCursor()),
        ("info", PageInfo((("more", "has_next"),))),
    ),
    Page("size", after="after", before="before"),
    where=Junction("or", (Compare("age", "gte", "x"), Junction("not", (Compare("email", "in", "y"),)))),
    order=Order(("last_name", "first_name"), True),
)


@pytest.fixture
def plan_cache(database_type):
    """A plan cache of the test's own."""
    return new_plan_cache(database_type)


@pytest.fixture
def database(database):
    """A database with the users and groups of the access table."""
    access_table.populate(database)
    return database


def test_equal_selections_have_equal_plans():
    for _ in range(3):
        first, second = (plan_list(USER, LIST, ADMIN) for _ in range(2))
        assert first.statement.sql == second.statement.sql
        assert (
            plan_record(USER, Selection((("g", GROUPS),)), IDENTIFIED).statement.sql
            == plan_record(USER, Selection((("g", GROUPS),)), IDENTIFIED).statement.sql
        )


def test_the_planner_imports_no_driver():
    functions = [
        value for _, value in inspect.getmembers(planner, inspect.isfunction) if value.__module__ == planner.__name__
    ]
    imported = {value.__module__ for value in vars(planner).values() if hasattr(value, "__module__")}

    assert plan_list in functions
    assert not any(map(inspect.iscoroutinefunction, functions))
    assert not [
        name
        for name in imported
        if name.startswith(("schema.engine.sqlite", "schema.engine.postgres", "schema.engine.operations"))
    ]


def test_a_rule_sees_only_the_actor_profile():
    assert len({actor.profile for actor in IDENTIFIED_ACTORS}) == 1
    assert (
        plan_list(USER, GROUPS_OF_ALL, ADMIN).statement.sql != plan_list(USER, GROUPS_OF_ALL, IDENTIFIED).statement.sql
    )


GROUPS_OF_ALL = ListSelection((("items", Items(ITEM)),), Page("n"))


class Anything(dict[str, Any]):
    """Values that give every name a token, so that bound constants stand out."""

    def __missing__(self, name):
        return Token(name)


class Token(str):
    __slots__ = ()


def statements_of(plans: PlanCache):
    """All statements in the cache, by key."""
    statements: dict[Any, Statement] = {}
    for key, plan in plans.items():
        planned = [plan.statement, plan.batch] if isinstance(plan, Plan) else [plan]
        statements |= {(key, number): value for number, value in enumerate(planned) if isinstance(value, Statement)}
    return statements


LISTS = [
    {"sort": "-age", "age__gte": "{number}", "size": "{number}"},
    {"email": "{text}@example.com", "first_name__startswith": "{text}"},
    {"age__in": ["{number}", "{number}"], "id": "{id}"},
    {"active": True, "created_at__gt": "20{number}-01-01T00:00:00Z"},
]


def filled(arguments, number, text, id):
    """The arguments of a list with the values filled in."""

    def fill(value):
        if isinstance(value, list):
            return [fill(value) for value in value]
        if value == "{number}":
            return number
        return value.format(number=number, text=text, id=id) if isinstance(value, str) else value

    return {name: fill(value) for name, value in arguments.items()}


def requests(client, number, text, id):
    """Run each operation with these values, granted or not."""

    def find(arguments):
        page = client.find("user", **filled(arguments, number, text, id))
        if page.next:
            client.find("user", **filled(arguments, number, text, id), after=page.next)

    calls: list[Callable[..., Any]] = [
        *(partial(find, arguments) for arguments in LISTS),
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
    for call in calls:
        with contextlib.suppress(ApiError):
            call()


IDENTIFIED_ACTORS = [actor for actor in ACTORS.values() if actor and actor.id and not actor.roles]
CONSTANTS = (0, 1, 29, 30, "owner", "member")  # constants of rules and of the planner
ZEBRA = (73, "zebra", "00000001-2222-7222-8222-222222222222")
QUAGGA = (91, "quagga", "00000002-2222-7222-8222-222222222222")


@pytest.mark.sqlite
@pytest.mark.parametrize("name", ["admin", "owner"])
def test_a_plan_holds_no_value_of_a_request(client, http_client, name):
    requests(client.as_actor(ACTORS[name]), *ZEBRA)

    planned = statements_of(http_client.app.state.directory.plans)
    assert len(planned) > 5
    for key, statement in planned.items():
        bound = statement.bind(Anything())
        unexpected = [value for value in bound if not isinstance(value, Token) and value not in CONSTANTS]
        assert not unexpected, statement.sql
        for text in (statement.sql, repr(key)):
            assert not re.search(r"zebra|\b73\b|\b00000001\b", text)


@pytest.mark.slow
def test_other_values_share_the_plan(client, http_client):
    plans = http_client.app.state.directory.plans
    requests(client, *ZEBRA)
    planned = set(statements_of(plans))

    requests(client, *QUAGGA)

    assert set(statements_of(plans)) == planned


def test_actors_of_one_profile_share_the_plan(client, http_client):
    plans = http_client.app.state.directory.plans
    requests(client.as_actor(ACTORS["owner"]), *ZEBRA)
    planned = set(statements_of(plans))

    requests(client.as_actor(ACTORS["person"]), *ZEBRA)

    assert set(statements_of(plans)) == planned


def outcomes(client):
    """The outcome of one operation for each rule; none changes a record."""

    def outcome(call):
        try:
            return call()
        except ApiError as refused:
            return refused.code, refused.detail

    calls: list[Callable[..., Any]] = [
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
        calls += for_each
    return [outcome(call) for call in calls]


@pytest.mark.parametrize("client_class", [RestClient, GraphQLClient], ids=lambda client_class: client_class.name)
@pytest.mark.slow
def test_a_plan_is_right_for_every_actor_of_its_profile(client_class, service, actors, database):
    people = {name: client_class(service, actors, actor) for name, actor in ACTORS.items() if actor}
    alone = {}
    for name, client in people.items():
        with using_directory(service, Directory(str(database))):
            alone[name] = outcomes(client)

    identified = [name for name, client in people.items() if client.actor in IDENTIFIED_ACTORS]
    for order in (list(people), *(identified[number:] + identified[:number] for number in range(len(identified)))):
        with using_directory(service, Directory(str(database))):
            for name in order:
                assert outcomes(people[name]) == alone[name], order

    assert len({repr(outcome) for outcome in alone.values()}) > 6


def test_the_least_used_plans_are_forgotten():
    plans = PlanCache(most=3)
    names: list[str] = []

    def make(name):
        names.append(name)
        return name

    for name in "abcadbe":
        plans.get_or_make(name, partial(make, name))

    assert names == ["a", "b", "c", "d", "b", "e"]
    assert len(plans) == 3
