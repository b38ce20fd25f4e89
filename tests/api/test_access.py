"""The access table, checked against both APIs for every kind of actor."""

from __future__ import annotations

from functools import partial

import pytest

from schema.engine.model.resource import resource_of
from tests.fixtures import access_table
from tests.fixtures.access_table import ACTORS, ADA, BOB, CHOIR, ENGINE, EVE, GROUPS, MEMBERS, OWNERS, PEOPLE, PRIVATE
from tests.fixtures.clients import USER, ApiError, Row, camel


@pytest.fixture
def database(database):
    """A database with the small society in it."""
    access_table.populate(database)
    return database


@pytest.fixture(params=ACTORS)
def actor(request):
    return ACTORS[request.param]


def those(fits):
    """The actors of whom something is true, for a test that is about them alone."""
    chosen = {name: actor for name, actor in ACTORS.items() if actor and fits(actor)}
    assert chosen
    return pytest.mark.parametrize("actor", chosen.values(), ids=chosen)


@pytest.fixture
def client(client, actor):
    """Each API, used by one of the actors."""
    return client.as_actor(actor)


def outcome(operation):
    """The result of an operation, or the error code."""
    try:
        return operation()
    except ApiError as refused:
        return refused.code


def test_private_fields_are_null_in_records(client, actor):
    for user in PEOPLE:
        result = outcome(lambda user=user: client.get("user", user["id"]))
        assert result == expected(actor, lambda user=user: shown(actor, user), "NOT_FOUND")
    for group in GROUPS:
        result = outcome(lambda group=group: client.get("group", group["id"]))
        assert result == expected(actor, lambda group=group: group, "NOT_FOUND")


def expected(actor, seen, unseen):
    """What an actor who sees records gets, and what others do."""
    if actor is None:
        return "UNAUTHENTICATED"
    return seen() if access_table.sees_records(actor) else unseen


def shown(actor, user):
    return access_table.visible_record(actor, user)


def test_lists_hold_the_same_records(client, actor):
    everybody = expected(actor, lambda: [shown(actor, user) for user in PEOPLE], "FORBIDDEN")
    groups = expected(actor, lambda: GROUPS, "FORBIDDEN")

    assert outcome(lambda: client.find("user", count="exact").items) == everybody
    assert outcome(lambda: client.find("group", count="exact").items) == groups


def test_related_lists_hold_the_same_records(client, actor):
    for group in GROUPS:
        members = expected(
            actor, lambda group=group: [shown(actor, user) for user in MEMBERS[group["id"]]], "NOT_FOUND"
        )

        result = outcome(lambda group=group: client.find("group", ("members", group["id"])).items)

        assert (result if isinstance(result, str) else [without_link(item) for item in result]) == members


def without_link(item):
    return {name: value for name, value in item.items() if not name.startswith("link_")}


def test_people_see_their_own_private_fields(client, actor):
    myself = next((user for user in PEOPLE if actor and user["id"] == actor.id), "NOT_FOUND")

    assert outcome(client.me) == (myself if actor else "UNAUTHENTICATED")


@those(access_table.sees_records)
@pytest.mark.slow
def test_private_fields_cannot_be_filtered_or_sorted_by(client, actor):
    lists = {"all": ("user", None), "below": ("group", ("members", ENGINE["id"]))}
    for field, place, parameters in every_question():
        refused = refusal(lambda place=place, parameters=parameters: client.find(*lists[place], **parameters))

        if field in PRIVATE and not access_table.is_staff(actor):
            assert (refused.code, refused.names) == ("FORBIDDEN", {field}), parameters
            assert field in refused.detail
        else:
            assert refused is None, parameters


def every_question():
    """Every filter and sort of users, each with the field that it is about and the list that it is put to."""
    for fields in USER.sorts:
        private = next((name for name in fields if name in PRIVATE), fields[0])
        yield private, "all", {"sort": ",".join(fields)}
        yield private, "below", {"sort": ",".join(f"-{name}" for name in fields)}
    for field in USER.filterable_fields:
        yield field.name, "below", {field.name: ADA[field.name]}
        for operator in field.operators:
            value = {"isnull": True, "in": [ADA[field.name]]}.get(operator, ADA[field.name])
            yield field.name, "all", {f"{field.name}__{operator}" if operator != "eq" else field.name: value}


def refusal(operation):
    try:
        operation()
    except ApiError as refused:
        return refused
    return None


def test_staff_create_and_delete_users(client, actor):
    created = outcome(lambda: client.create("user", first_name="New", age=1, email="new@example.com"))
    gone = outcome(lambda: client.delete("user", EVE["id"]))

    if actor and access_table.is_staff(actor):
        assert created["email"] == "new@example.com"
        assert gone is None
    else:
        assert created == ("FORBIDDEN" if actor else "UNAUTHENTICATED")
        assert gone == expected(actor, lambda: "FORBIDDEN", "NOT_FOUND")


CHANGES: list[Row] = [
    {}, {"first_name": "X"}, {"last_name": "X"}, {"age": 99}, {"email": "x@example.com"}, {"external_id": None},
    {"active": False}, {"first_name": "X", "last_name": "Y", "age": 98}, {"first_name": "X", "email": "y@example.com"},
]  # fmt: skip


def test_staff_change_users_and_people_some_of_their_own_fields(client, actor):
    admin = client.as_actor(ACTORS["admin"])
    for number, whose in enumerate(PEOPLE):
        now = whose
        for change in CHANGES:
            if "email" in change:
                change = {**change, "email": f"{number}{change['email']}"}
            refused = refusal(lambda id=whose["id"], change=change: client.update("user", id, **change))

            result = admin.get("user", whose["id"])
            if actor and access_table.may_change(actor, whose, set(change)):
                assert refused is None, change
                now = {**now, **change, "version": result["version"], "updated_at": result["updated_at"]}
            else:
                assert refused.code == expected(actor, lambda: "FORBIDDEN", "NOT_FOUND"), change
            assert result == now, change


@those(lambda actor: actor.id == ADA["id"])
def test_an_error_names_the_forbidden_fields(client, actor):
    with pytest.raises(ApiError, match="FORBIDDEN") as refused:
        client.update("user", ADA["id"], first_name="X", email="x@example.com", active=False)

    assert refused.value.names == {"email", "active"}


def test_staff_activate_and_deactivate_people(client, actor):
    for user in PEOPLE:
        for action in ("deactivate", "activate"):
            outcomes = outcome(lambda user=user, action=action: client.call(action, "user", user["id"]))

            if actor and access_table.is_staff(actor):
                assert outcomes["active"] == (action == "activate")
            else:
                assert outcomes == expected(actor, lambda: "FORBIDDEN", "NOT_FOUND")


def test_staff_create_change_and_delete_groups(client, actor):
    operations = {
        "create": lambda: client.create("group", name="New"),
        "update": lambda: client.update("group", ENGINE["id"], name="Newer"),
        "update nothing": lambda: client.update("group", ENGINE["id"]),
        "delete": lambda: client.delete("group", ENGINE["id"]),
    }

    outcomes = {name: outcome(operation) for name, operation in operations.items()}

    if actor and access_table.is_staff(actor):
        assert not [name for name, result in outcomes.items() if isinstance(result, str)]
    else:
        unseen = expected(actor, lambda: "FORBIDDEN", "NOT_FOUND")
        assert outcomes == {**dict.fromkeys(operations, unseen), "create": "FORBIDDEN" if actor else "UNAUTHENTICATED"}


@pytest.mark.parametrize("operation", ["link", "unlink"])
def test_staff_and_owners_manage_members(client, actor, operation):
    admin = client.as_actor(ACTORS["admin"])
    for group in GROUPS:
        for user in (BOB, EVE):
            for fields in [{}, {"role": "owner"}, {"role": "member"}] if operation == "link" else [{}]:
                call = partial(getattr(client, operation), "group", group["id"], "members", user["id"], **fields)
                result = outcome(call)

                if actor and access_table.may_manage(actor, group):
                    assert result is None
                else:
                    assert result == expected(actor, lambda: "FORBIDDEN", "NOT_FOUND")
                    assert roles_of(admin, group) == {it["id"]: it["role"] for it in membership(group)}


def membership(group):
    return [
        {"id": user["id"], "role": "owner" if (group["id"], user["id"]) in OWNERS else "member"}
        for user in MEMBERS[group["id"]]
    ]


def roles_of(client, group):
    return {item["id"]: item["link_role"] for item in client.find("group", ("members", group["id"])).items}


@those(lambda actor: actor.id == ADA["id"])
def test_a_former_owner_manages_no_members(client, actor):
    client.link("group", ENGINE["id"], "members", ADA["id"], role="member")

    assert outcome(lambda: client.link("group", ENGINE["id"], "members", EVE["id"])) == "FORBIDDEN"


@those(lambda actor: access_table.may_manage(actor, ENGINE))
def test_a_mutation_returns_no_more_than_a_query(graphql, actor):
    client = graphql.as_actor(actor)
    query = f"""mutation {{ addGroupMember(input: {{groupId: "{ENGINE["id"]}", userId: "{EVE["id"]}"}}) {{
        user {{ email age }}
        group {{ members {{ nodes {{
            id email groups {{ nodes {{ members {{ nodes {{ id email }} }} }} }} }} }} }} }} }}"""

    result = client.execute(query)["addGroupMember"]

    eve = shown(actor, EVE)
    assert result["user"] == {"email": eve["email"], "age": eve["age"]}
    for member in result["group"]["members"]["nodes"]:
        assert member["email"] == email(actor, member)
        for group in member["groups"]["nodes"]:
            assert [it["email"] for it in group["members"]["nodes"]] == [
                email(actor, it) for it in group["members"]["nodes"]
            ]


def email(actor, node):
    return shown(actor, next(user for user in PEOPLE if user["id"] == node["id"]))["email"]


@those(access_table.sees_records)
def test_private_fields_are_null_on_every_path(graphql, actor):
    fields = " ".join(camel(field.name) for field in USER.readable_fields)
    query = f"""query($ids: [ID!]!) {{
        nodes(ids: $ids) {{
            ... on User {{ {fields} }} ... on Group {{ members {{ edges {{ node {{ {fields} }} }} }} }} }}
        groups(first: 3) {{ nodes {{ members(first: 5) {{ nodes {{
            groups(first: 3) {{ nodes {{ members(first: 5) {{ nodes {{ {fields} }} }} }} }} }} }} }} }} }}"""
    ids = [record["id"] for record in (*PEOPLE, *GROUPS)]

    result = graphql.as_actor(actor).execute(query, ids=ids)

    seen = list(users_in(result))
    assert len(seen) > 10
    for user in seen:
        original = next(it for it in PEOPLE if it["id"] == user["id"])
        assert {name: user[camel(name)] for name in PRIVATE} == {name: shown(actor, original)[name] for name in PRIVATE}


def users_in(result):
    """All users in an answer, wherever they stand."""
    if isinstance(result, dict):
        if "email" in result:
            yield result
        result = list(result.values())
    if isinstance(result, list):
        for part in result:
            yield from users_in(part)


@those(lambda actor: not access_table.sees_records(actor))
def test_hidden_fields_are_null_in_graphql_without_an_error(graphql, actor):
    query = "query($id: ID!) { node(id: $id) { id } nodes(ids: [$id]) { id } user(id: $id) { id } me { id } }"

    answer = graphql.as_actor(actor).response(query, id=ADA["id"])

    assert answer == {"data": {"node": None, "nodes": [None], "user": None, "me": None}}


def test_the_access_table_covers_all_models():
    """Enter a new private field or action above."""
    assert {name for names in resource_of(USER.model).rules.private for name in names} == PRIVATE
    assert set(USER.actions) == {"activate", "deactivate"}
    assert CHOIR in GROUPS
