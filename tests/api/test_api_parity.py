"""Both APIs offer the same fields, filters, sorts and operations."""

from __future__ import annotations

import re

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLList,
    GraphQLNonNull,
    build_client_schema,
    get_introspection_query,
    get_named_type,
)

from schema.engine.model.names import pascal_case
from tests.fixtures.clients import RESOURCES, Row, camel, pascal, snake

KINDS = {"ID": "uuid", "Int": "integer", "Boolean": "boolean", "DateTime": "date-time", "String": "string"}
GETS = {"getMe": "me"}
# What only one API has, and why.
ONLY_AT_REST = {
    "putGroupMember": "adds, and changes the role: addGroupMember and setGroupMemberRole",
    "getGroupMember": "one item of Group.members, which a filter by id gives",
    "greet": "no model: Query.greeting",
}
ONLY_IN_GRAPHQL = {"addGroupMember", "setGroupMemberRole", "node", "nodes", "greeting"}


@pytest.fixture
def document(http_client):
    return http_client.get("/openapi.json").json()


@pytest.fixture
def schema(graphql):
    return build_client_schema(graphql.execute(get_introspection_query()))


@pytest.fixture
def operations(document):
    return {it["operationId"]: (path, it) for path, item in document["paths"].items() for it in item.values()}


@pytest.fixture(params=RESOURCES.values(), ids=list(RESOURCES))
def resource(request):
    return request.param


def kind_at_rest(member):
    """What a member's values are, and whether it may be null."""
    types = member["type"] if isinstance(member["type"], list) else [member["type"]]
    (plain,) = set(types) - {"null"}
    kind = "enum" if "enum" in member else member["format"] if plain == "string" and "format" in member else plain
    return kind, "null" in types


def kind_in_graphql(kind):
    """The same for a type of GraphQL."""
    named = get_named_type(kind)
    plain = "enum" if isinstance(named, GraphQLEnumType) else KINDS[named.name]
    return plain, not isinstance(kind, GraphQLNonNull)


def members_of(kind, without):
    return {snake(name): kind_in_graphql(field.type) for name, field in kind.fields.items() if name not in without}


def test_records_have_the_same_fields(document, schema, resource):
    at_rest = {
        name: kind_at_rest(it) for name, it in document["components"]["schemas"][resource.name]["properties"].items()
    }

    in_graphql = members_of(schema.type_map[resource.name], {camel(name) for name in resource.relations})

    assert at_rest == in_graphql


@pytest.mark.parametrize("operation", ["create", "update"])
def test_inputs_have_the_same_fields(document, schema, resource, operation):
    json_schema = document["components"]["schemas"][f"{resource.name}{operation.capitalize()}"]
    at_rest = {name: kind_at_rest(it)[0] for name, it in json_schema["properties"].items()}
    taken = schema.type_map[f"{operation.capitalize()}{resource.name}Input"].fields
    in_graphql = {snake(name): kind_in_graphql(it.type)[0] for name, it in taken.items()}
    needed = {snake(name) for name, it in taken.items() if isinstance(it.type, GraphQLNonNull)}

    # What REST has in the path and in headers.
    besides = {"id": "uuid", "if_version": "integer"} if operation == "update" else {"idempotency_key": "string"}
    assert in_graphql == at_rest | besides
    assert needed == set(json_schema.get("required", [])) | ({"id"} if operation == "update" else set())


def filters_at_rest(operation):
    """Each filter and its operators, as the parameters of a list have them."""
    names: Row = {}
    for parameter in operation["parameters"]:
        name, _, operator = parameter["name"].partition("__")
        if parameter["in"] == "query" and name not in ("limit", "after", "before", "sort", "count", "q"):
            names.setdefault(name, {})[operator or "eq"] = _filter_kind(parameter["schema"])
    return names


def _filter_kind(schema):
    many = schema["type"] == "array"
    return kind_at_rest(schema["items"] if many else schema)[0], many


def filters_in_graphql(field):
    """The same, as the argument `filter` has them."""
    names: Row = {}
    for name, member in get_named_type(field.args["filter"].type).fields.items():
        if name not in ("and", "or", "not"):
            operators = get_named_type(member.type).fields
            names[snake(name)] = {
                key: (kind_in_graphql(it.type)[0], _is_list(it.type)) for key, it in operators.items()
            }
    return names


def _is_list(kind):
    return isinstance(kind.of_type if isinstance(kind, GraphQLNonNull) else kind, GraphQLList)


def lists(schema, operations):
    """Every list: its REST operation, its GraphQL field, and its resource."""
    for resource in RESOURCES.values():
        yield (
            operations[f"list{pascal_case(resource.plural)}"][1],
            schema.query_type.fields[camel(resource.plural)],
            resource,
        )
        for relation in resource.relations.values():
            if relation.many:
                below = operations[f"list{resource.name}{pascal_case(relation.name)}"][1]
                yield below, schema.type_map[resource.name].fields[camel(relation.name)], relation.target


def test_lists_have_the_same_filters(schema, operations):
    for at_rest, in_graphql, _ in lists(schema, operations):
        assert filters_at_rest(at_rest)
        assert filters_at_rest(at_rest) == filters_in_graphql(in_graphql)


def test_lists_have_the_same_sorts(schema, operations):
    for at_rest, in_graphql, _ in lists(schema, operations):
        (offered,) = (it["schema"]["enum"] for it in at_rest["parameters"] if it["name"] == "sort")
        fields = get_named_type(get_named_type(in_graphql.args["sort"].type).fields["field"].type).values

        assert {name.lstrip("-") for order in offered for name in order.split(",")} == {name.lower() for name in fields}
        assert all(("-" + order.replace(",", ",-")) in offered for order in offered if order[0] != "-")


@pytest.mark.parametrize("below", [False, True], ids=["all", "below"])
@pytest.mark.slow
def test_every_sort_works_in_both_apis(rest, graphql, operations, below):
    user = rest.create("user", first_name="Ada", age=36)
    group = rest.create("group", name="Engine")
    rest.link("group", group["id"], "members", user["id"])
    lists: dict[str, tuple[str, tuple[str, str] | None]] = {"listUsers": ("user", None), "listGroups": ("group", None)}
    if below:
        lists = {
            "listGroupMembers": ("group", ("members", group["id"])),
            "listUserGroups": ("user", ("groups", user["id"])),
        }

    for name, (kind, above) in lists.items():
        (offered,) = (it["schema"]["enum"] for it in operations[name][1]["parameters"] if it["name"] == "sort")
        for sort in offered:
            names = [client.find(kind, above, sort=sort).items for client in (rest, graphql)]
            assert names[0] == names[1] != []


def test_list_items_have_the_same_fields(document, schema, resource):
    for relation in resource.relations.values():
        if not relation.link_fields:
            continue
        item = document["components"]["schemas"][relation.item_name]["properties"]
        ends = {name for name, it in item.items() if "$ref" in it}
        at_rest = {name: kind_at_rest(it) for name, it in item.items() if name not in ends}
        edge = members_of_edge(schema.type_map[f"{relation.item_name}Edge"])

        assert at_rest == edge
        assert len(ends) == 1


def members_of_edge(kind):
    return members_of(kind, {"node", "cursor"})


def test_every_operation_is_in_both_apis(schema, operations):
    mutations, queries = set(schema.mutation_type.fields), set(schema.query_type.fields)
    read = {name for name, (_, it) in operations.items() if name not in ONLY_AT_REST and not _writes(name)}
    written = {name for name in operations if name not in ONLY_AT_REST} - read

    assert written == mutations - ONLY_IN_GRAPHQL
    assert {query_for(name, schema) for name in read} - {None} == queries - ONLY_IN_GRAPHQL
    assert ONLY_AT_REST.keys() <= operations.keys()
    assert mutations | queries >= ONLY_IN_GRAPHQL


def _writes(name):
    return not re.match(r"(get|list)[A-Z]", name)


def query_for(name, schema):
    """The root field that corresponds to an operation; None if it is a field of a record."""
    for resource in RESOURCES.values():
        if name in (f"get{resource.name}", f"list{pascal_case(resource.plural)}"):
            return camel(resource.singular if name.startswith("get") else resource.plural)
        for relation in resource.relations.values():
            if name in {f"{method}{resource.name}{pascal_case(relation.name)}" for method in ("list", "get")}:
                assert camel(relation.name) in schema.type_map[resource.name].fields
                return None
    return GETS.get(name, name)


def test_a_link_has_the_same_inputs_in_both_apis(document, schema):
    for resource in RESOURCES.values():
        for relation in resource.relations.values():
            if relation.link and relation.owning:
                json_schema = document["components"]["schemas"][f"{relation.item_name}Input"]["properties"]
                taken = schema.type_map[f"Add{resource.name}{pascal_case(relation.singular)}Input"].fields

                assert {snake(name) for name in taken} - {relation.local_key, relation.remote_key} == set(json_schema)
                for name in json_schema:
                    assert (
                        f"set{resource.name}{pascal_case(relation.singular)}{pascal(camel(name))}"
                        in schema.mutation_type.fields
                    )


def test_both_apis_have_the_same_field_descriptions(document, schema, resource):
    for name, member in document["components"]["schemas"][resource.name]["properties"].items():
        assert member["description"] == schema.type_map[resource.name].fields[camel(name)].description
