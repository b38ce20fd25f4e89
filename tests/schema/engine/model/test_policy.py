"""Rules combine like boolean expressions, and every field and operation of the APIs has a rule."""

from __future__ import annotations

import re
import sqlite3
from itertools import product

import pytest
from sqlalchemy import case, select

from schema.engine.model.names import camel_case, pascal_case
from schema.engine.model.policy import Actor, ActorProfile, Rule, Rules, everybody, linked, nobody, own, role, signed_in
from schema.engine.model.resource import resource_of
from schema.engine.sql.statement import Statement
from schema.models import MODELS, Group, Membership, User
from tests.fixtures import access_table
from tests.fixtures.access_table import ADA, BOB, ENGINE, EVE
from tests.fixtures.clients import USER, snake

pytestmark = pytest.mark.sqlite

PERSON, READER, EDITOR = Actor(id=ADA["id"]), Actor(roles=frozenset({"reader"})), Actor(roles=frozenset({"editor"}))
NOBODY = Actor()


@pytest.fixture
def holds(database):
    """Whether a rule allows an actor something with a record, as the database evaluates it."""
    access_table.populate(database)
    connection = sqlite3.connect(database)

    def ask(rule, actor, record=ADA, model=User, changed=()):
        table = resource_of(model).table
        result = rule.where(table, actor.profile, frozenset(changed))
        if isinstance(result, bool):
            return result
        statement = Statement(select(case((result, 1), else_=0)).where(table.c.id == record["id"]))
        ((allowed,),) = connection.execute(statement.sql, statement.bind({"actor": actor.id})).fetchall()
        return bool(allowed)

    yield ask
    connection.close()


SIMPLE = {
    "everybody": (everybody, {PERSON, READER, EDITOR, NOBODY}),
    "nobody": (nobody, set()),
    "signed in": (signed_in, {PERSON, READER, EDITOR}),
    "reader": (role("reader"), {READER}),
    "staff": (role("editor", "admin"), {EDITOR}),
    "own": (own("id"), {PERSON}),
}
ALL = {PERSON, READER, EDITOR, NOBODY}


@pytest.mark.parametrize("name", SIMPLE)
def test_a_rule_allows_the_actors_that_it_names(holds, name):
    rule, let = SIMPLE[name]

    assert {actor for actor in ALL if holds(rule, actor)} == let


def test_own_depends_on_the_row(holds):
    assert holds(own("id"), PERSON, ADA)
    assert not holds(own("id"), PERSON, BOB)
    assert not holds(own("id"), Actor(id=None), ADA)


@pytest.mark.parametrize(
    "actor, record, role, let",
    [(ADA, "engine", "owner", True), (BOB, "engine", "owner", False), (BOB, "engine", "member", True),
     (BOB, "choir", "member", True), (ADA, "choir", "owner", False), (EVE, "engine", "member", False)],
    ids=lambda value: value["first_name"] if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_linked_allows_the_linked_actors(holds, actor, record, role, let):
    group = {"engine": ENGINE, "choir": access_table.CHOIR}[record]

    assert holds(linked(Membership, role=role), Actor(id=actor["id"]), group, Group) == let
    assert not holds(linked(Membership, role=role), NOBODY, group, Group)


@pytest.mark.parametrize("left, right", list(product(SIMPLE, SIMPLE)), ids=lambda name: name.replace(" ", "-"))
def test_rules_combine_with_and_and_or(holds, left, right):
    (left_rule, left_allowed), (right_rule, right_allowed) = SIMPLE[left], SIMPLE[right]

    assert {actor for actor in ALL if holds(left_rule | right_rule, actor)} == left_allowed | right_allowed
    assert {actor for actor in ALL if holds(left_rule & right_rule, actor)} == left_allowed & right_allowed


AGE, MAIL, BOTH = frozenset({"age"}), frozenset({"email"}), frozenset({"age", "email"})
WITHIN = [
    (own("id").only("age"), PERSON, {AGE: True, MAIL: False, BOTH: False}),
    (own("id").only("age", "email"), PERSON, {AGE: True, MAIL: True, BOTH: True}),
    (own("id").only("age") | role("editor"), PERSON, {AGE: True, MAIL: False, BOTH: False}),
    (own("id").only("age") | role("editor"), EDITOR, {AGE: True, MAIL: True, BOTH: True}),
    (role("editor") | own("id").only("age"), PERSON, {AGE: True, MAIL: False, BOTH: False}),
    ((own("id") | role("editor")).only("age"), EDITOR, {AGE: True, MAIL: False, BOTH: False}),
    (own("id").only("age") & signed_in, PERSON, {AGE: True, MAIL: False, BOTH: False}),
    (signed_in & own("id").only("age"), PERSON, {AGE: True, MAIL: False, BOTH: False}),
    ((own("id") & signed_in).only("age"), PERSON, {AGE: True, MAIL: False, BOTH: False}),
    (own("id").only("age") & signed_in | role("editor"), EDITOR, {AGE: True, MAIL: True, BOTH: True}),
    (own("id").only("age") & own("id").only("email"), PERSON, {AGE: False, MAIL: False, BOTH: False}),
    (own("id").only("age") | own("id").only("email"), PERSON, {AGE: True, MAIL: True, BOTH: False}),
]


@pytest.mark.parametrize("rule, actor, cases", WITHIN, ids=map(str, range(len(WITHIN))))
def test_a_rule_for_some_fields_allows_no_others(holds, rule, actor, cases):
    assert {changed: holds(rule, actor, changed=changed) for changed in cases} == cases
    assert not any(holds(rule, NOBODY, changed=changed) for changed in cases)


def test_a_rule_does_not_see_the_actor_s_id():
    """It receives the actor profile, which has no id, and uses a parameter for the id."""
    for rule in every_rule():
        for kind in kinds():
            for model in MODELS:
                result = rule.where(resource_of(model).table, kind, frozenset()) if fits(rule, model) else False
                if not isinstance(result, bool):
                    assert "actor" in result.compile().params


def kinds():
    roles = [
        frozenset(),
        frozenset({"reader"}),
        frozenset({"editor"}),
        frozenset({"admin"}),
        frozenset({"reader", "admin"}),
    ]
    return [ActorProfile(some, identified=identified) for some in roles for identified in (True, False)]


def every_rule():
    for rules in (*(model.rules for model in MODELS), Membership.rules):
        yield from (rules.read, rules.create, rules.update, rules.delete, *rules.private.values())
    yield from (action.rule for action in USER.actions.values())


def fits(rule, model):
    """A link's rules apply to the record that owns it."""
    link = {id(rule) for rule in (Membership.rules.create, Membership.rules.update, Membership.rules.delete)}
    return model is Group if id(rule) in link else True


# Who may see what, field by field. A new field has to be entered here, and in the model's rules if it is private.
TO_ALL_WHO_SEE_THE_RECORD = {
    "User": {"id", "first_name", "last_name", "active", "created_at", "updated_at", "version"},
    "Group": {"id", "name", "description", "active", "created_at", "updated_at", "version"},
    "Key": {"id", "name", "role", "scopes", "expires_at", "rate", "active", "created_at", "updated_at", "version"},
    "GroupMember": {"role", "created_at"},
    "UserGroup": {"role", "created_at"},
}
PRIVATE = {"User": {"email", "age", "external_id"}}
OPEN_TO_ALL = {"greet"}


def test_every_field_in_rest_has_a_rule(http_client):
    schemas = http_client.get("/openapi.json").json()["components"]["schemas"]
    ends = {"user", "group"}

    for name, open_ones in TO_ALL_WHO_SEE_THE_RECORD.items():
        assert set(schemas[name]["properties"]) - ends == open_ones | PRIVATE.get(name, set())
    versioned = {name for name, schema in schemas.items() if "version" in schema.get("properties", {})}
    assert versioned == {"User", "Group", "Key", "KeyCreated"}
    assert set(schemas["KeyCreated"]["properties"]) - set(schemas["Key"]["properties"]) == {"secret"}


def test_every_field_in_graphql_has_a_rule(graphql):
    types = graphql.execute("{ __schema { types { name kind fields { name type { kind ofType { kind } } } } } }")[
        "__schema"
    ]["types"]
    fields = {type["name"]: type["fields"] for type in types if type["kind"] == "OBJECT"}
    edges = {"GroupMember": "GroupMemberEdge", "UserGroup": "UserGroupEdge"}
    relations = {
        "User": {"groups"},
        "Group": {"members"},
        "Key": set(),
        "GroupMember": {"node", "cursor"},
        "UserGroup": {"node", "cursor"},
    }

    for name, open_ones in TO_ALL_WHO_SEE_THE_RECORD.items():
        names = {snake(field["name"]) for field in fields[edges.get(name, name)]}
        assert names - relations[name] == open_ones | PRIVATE.get(name, set())


def test_private_fields_are_private_in_the_models():
    for model in MODELS:
        private = {name for names in model.rules.private for name in names}
        assert private == PRIVATE.get(model.__name__, set())


def test_every_operation_in_rest_has_a_rule(http_client):
    paths = http_client.get("/openapi.json").json()["paths"]
    operations = {
        operation["operationId"]: (method, path) for path, item in paths.items() for method, operation in item.items()
    }

    unruled = {name for name, (method, path) in operations.items() if rule_of_operation(method, path) is None}

    assert unruled == OPEN_TO_ALL


def rule_of_operation(method, path):
    if path == "/me":
        return User.rules.read
    match = re.fullmatch(r"/(\w+)(/\{id\})?(/\w+)?(/\{\w+\})?", path)
    resource = next((resource_of(model) for model in MODELS if match and resource_of(model).plural == match[1]), None)
    if resource is None or match is None:
        return None
    relation = resource.relations.get((match[3] or "/")[1:])
    rules = relation.link.rules if relation and relation.link and relation.owning else resource.rules
    if method == "post" and match[3]:
        return resource.actions[match[3][1:]].rule
    return {
        "get": rules.read,
        "post": rules.create,
        "patch": rules.update,
        "put": rules.update,
        "delete": rules.delete,
    }[method]


def test_every_mutation_has_a_rule(graphql):
    names = [
        field["name"]
        for field in graphql.execute("{ __schema { mutationType { fields { name } } } }")["__schema"]["mutationType"][
            "fields"
        ]
    ]

    assert names
    assert [name for name in names if not isinstance(rule_of_mutation(name), Rule)] == []


def rule_of_mutation(name):
    for resource in map(resource_of, MODELS):
        for operation, rule in (
            ("create", resource.rules.create),
            ("update", resource.rules.update),
            ("delete", resource.rules.delete),
        ):
            if name == f"{operation}{resource.name}":
                return rule
        for action in resource.actions.values():
            if name == f"{camel_case(action.name)}{resource.name}":
                return action.rule
        for relation in resource.relations.values():
            if (
                relation.link
                and relation.owning
                and re.fullmatch(rf"(add|set|remove){resource.name}{pascal_case(relation.singular)}\w*", name)
            ):
                return relation.link.rules.update
    return None


@pytest.mark.parametrize("model", [*MODELS, Membership], ids=lambda model: model.__name__)
def test_every_model_has_rules_for_all_operations(model):
    rules = model.rules

    assert isinstance(rules, Rules)
    assert all(isinstance(rule, Rule) for rule in (rules.read, rules.create, rules.update, rules.delete))
    assert rules.read.where(resource_of(User).table, ActorProfile()) is False


def test_an_unknown_role_fails_at_start():
    with pytest.raises(AssertionError, match="unknown role boss; roles: reader, editor, admin"):
        role("boss")
