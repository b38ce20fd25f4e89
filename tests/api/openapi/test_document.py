"""`/openapi.json` is valid, whole and precise: every operation, every refusal, every bound, with examples that fit.

That the service does what it says is told in `test_document.py`.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from pydantic import Field
from starlette.testclient import TestClient

import api.app
from api.openapi import document as openapi
from api.rest.typed_endpoints import get
from api.settings import read
from schema.engine.model.resource import resource_of
from schema.models import User

BASE = "http://127.0.0.1:8000"
OPERATIONS = {
    "GET /users": "listUsers",
    "POST /users": "createUser",
    "GET /users/{id}": "getUser",
    "PATCH /users/{id}": "updateUser",
    "DELETE /users/{id}": "deleteUser",
    "GET /users/{id}/groups": "listUserGroups",
    "POST /users/{id}/activate": "activateUser",
    "POST /users/{id}/deactivate": "deactivateUser",
    "GET /groups": "listGroups",
    "POST /groups": "createGroup",
    "GET /groups/{id}": "getGroup",
    "PATCH /groups/{id}": "updateGroup",
    "DELETE /groups/{id}": "deleteGroup",
    "GET /groups/{id}/members": "listGroupMembers",
    "GET /groups/{id}/members/{user_id}": "getGroupMember",
    "PUT /groups/{id}/members/{user_id}": "putGroupMember",
    "DELETE /groups/{id}/members/{user_id}": "removeGroupMember",
    "GET /keys": "listKeys",
    "POST /keys": "createKey",
    "GET /keys/{id}": "getKey",
    "PATCH /keys/{id}": "updateKey",
    "DELETE /keys/{id}": "deleteKey",
    "POST /keys/{id}/revoke": "revokeKey",
    "GET /me": "getMe",
    "POST /greetings": "greet",
}
EVERYWHERE = {"400", "401", "403", "406", "414", "422", "429", "500", "503"}


@get("/seats/{row}", summary="Show a seat", name="getSeat")
async def seat(row: Annotated[int, Field(ge=1, le=20, description="The row.", examples=[7])]) -> dict[str, int]:
    """Where somebody sits."""
    return {"row": row}


def document_for(environment: str = "development") -> dict[str, Any]:
    """The document; the database that is named is never opened."""
    settings = read({"TANDEM_ENV": environment, "DATABASE_URL": "sqlite:///nowhere.db"})
    document: dict[str, Any] = TestClient(api.app.create_app(settings), base_url=BASE).get("/openapi.json").json()
    return document


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return document_for()


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation by its method and path."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def schemas(part: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each schema in the document that has a type, by its place."""
    if isinstance(part, list):
        for number, item in enumerate(part):
            yield from schemas(item, f"{place}/{number}")
    elif isinstance(part, dict):
        if isinstance(part.get("type"), str | list) and not place.endswith(("/properties", "/securitySchemes/bearer")):
            yield place, part
        for key, item in part.items():
            if key not in ("example", "examples", "value", "default"):
                yield from schemas(item, f"{place}/{key}")


def types_of(schema: Mapping[str, Any]) -> list[str]:
    return schema["type"] if isinstance(schema["type"], list) else [schema["type"]]


def resolved(document: Mapping[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = document
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return dict(found)


def test_it_is_a_valid_openapi_document(document):
    validate(document)

    assert document["openapi"].startswith("3.1.")


def test_operations_keep_their_names(document):
    assert {place: operation["operationId"] for place, operation in operations(document)} == OPERATIONS


def test_an_operation_says_what_it_is_and_where_it_belongs(document):
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}

    for place, operation in operations(document):
        assert operation["summary"], place
        assert operation["description"], place
        assert all(tags[tag] for tag in operation["tags"]), place
        assert all(parameter["description"] for parameter in operation["parameters"]), place


def test_every_refusal_is_a_problem_document_with_an_example(document):
    for place, operation in operations(document):
        refused = {status: it for status, it in operation["responses"].items() if status >= "400"}
        assert refused.keys() >= EVERYWHERE, place
        for status, response in refused.items():
            content = resolved(document, response)["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert {it["value"]["status"] for it in content["examples"].values()} == {int(status)}


@pytest.mark.parametrize(
    "place, more",
    [
        ("GET /users", set()),
        ("POST /users", {"409", "413", "415"}),
        ("GET /users/{id}", {"404"}),
        ("PATCH /users/{id}", {"404", "409", "412", "413", "415"}),
        ("DELETE /users/{id}", {"404", "409", "412"}),
        ("GET /users/{id}/groups", {"404"}),
        ("POST /users/{id}/deactivate", {"404", "409", "412", "413", "415"}),
        ("PUT /groups/{id}/members/{user_id}", {"404", "413", "415"}),
        ("DELETE /groups/{id}/members/{user_id}", {"404"}),
        ("GET /me", {"404"}),
        ("POST /greetings", {"413", "415"}),
    ],
)
def test_an_operation_lists_the_refusals_of_its_own(document, place, more):
    responses = dict(operations(document))[place]["responses"]

    assert {status for status in responses if status >= "400"} == EVERYWHERE | more


def test_objects_are_closed(document):
    for place, schema in schemas(document):
        if "object" in types_of(schema):
            assert schema["additionalProperties"] is False, place


def test_everything_has_bounds(document):
    for place, schema in schemas(document):
        types = types_of(schema)
        if "string" in types and "enum" not in schema:
            assert schema["maxLength"], place
            assert schema.keys() & {"format", "pattern"}, place
        if "integer" in types:
            assert schema["minimum"] <= schema["maximum"], place
            assert schema["format"] in ("int32", "int64"), place
        if "array" in types:
            assert schema["maxItems"], place


def test_patterns_are_anchored(document):
    for place, schema in schemas(document):
        assert re.fullmatch(r"\^.*\$", schema.get("pattern", "^$")), place


def test_every_example_fits(document):
    found = list(examples(document))

    assert len(found) > 200
    for place, schema, example in found:
        errors = list(Draft202012Validator({**schema, "components": document["components"]}).iter_errors(example))
        assert not errors, f"{place}: {errors[0].message}"


def examples(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Each example, with the schema that it is one of."""
    for place, schema in schemas(document):
        for example in schema.get("examples", ()):
            yield place, schema, example
    for name, header in document["components"]["headers"].items():
        yield name, header["schema"], header["example"]
    for place, operation in operations(document):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for answer in [*bodies, *(resolved(document, it) for it in operation["responses"].values())]:
            for media in answer.get("content", {}).values():
                for example in media["examples"].values():
                    yield place, media["schema"], example["value"]


def test_what_is_sent_and_what_is_answered_has_an_example(document):
    for place, operation in operations(document):
        contents = [
            operation.get("requestBody", {}),
            *(resolved(document, it) for it in operation["responses"].values()),
        ]
        for content in contents:
            assert all(media["examples"] for media in content.get("content", {}).values()), place


def test_every_parameter_has_an_example_but_a_cursor(document):
    for place, operation in operations(document):
        without = {it["name"] for it in operation["parameters"] if "examples" not in it["schema"]}
        assert without <= {"after", "before"}, place


def test_links_lead_to_operations_and_their_parameters(document):
    known = {operation["operationId"]: operation for _, operation in operations(document)}
    links = [
        (place, name, link)
        for place, operation in operations(document)
        for response in operation["responses"].values()
        for name, link in response.get("links", {}).items()
    ]

    assert {place for place, _, _ in links} >= {"POST /users", "GET /users", "PUT /groups/{id}/members/{user_id}"}
    for place, name, link in links:
        parameters = known[link["operationId"]]["parameters"]
        assert link["parameters"].keys() <= {parameter["name"] for parameter in parameters}, (place, name)
        required = {parameter["name"] for parameter in parameters if parameter["required"]}
        assert link["parameters"].keys() >= required, (place, name)


def test_lists_are_declared_as_they_are_taken(document):
    lists = [it for _, operation in operations(document) for it in operation["parameters"] if "items" in it["schema"]]

    assert {it["name"] for it in lists} >= {"id__in", "age__in", "first_name__in", "active__in", "created_at__in"}
    assert all((it["style"], it["explode"]) == ("form", True) for it in lists)


def test_a_default_is_never_declared_for_what_is_sent_in_a_body(document):
    """Generators of clients take a member that has one for a member that is always there."""
    for name in ("UserCreate", "UserUpdate", "GroupCreate", "GroupUpdate", "GroupMemberInput"):
        members = document["components"]["schemas"][name]["properties"]
        assert not [key for key, schema in members.items() if "default" in schema]
    assert "Default: `true`" in document["components"]["schemas"]["UserCreate"]["properties"]["active"]["description"]


@pytest.mark.parametrize(
    "environment, security, words",
    [
        ("development", [{"bearer": []}, {}], "This server, local development environment"),
        ("production", [{"bearer": []}], "This server, production environment"),
    ],
)
def test_the_document_says_what_this_process_enforces(environment, security, words):
    document = document_for(environment)

    assert document["security"] == security
    assert document["servers"] == [{"url": ".", "description": words, "x-internal": "false"}]
    assert document["paths"] == document_for()["paths"]


def test_it_is_served_packed_and_only_when_it_has_changed():
    settings = read({"TANDEM_ENV": "production", "DATABASE_URL": "sqlite:///nowhere.db"})
    http_client = TestClient(api.app.create_app(settings), base_url=BASE)

    plain = http_client.get("/openapi.json", headers={"accept-encoding": "identity"})
    with http_client.stream("GET", "/openapi.json", headers={"accept-encoding": "gzip"}) as answer:
        packed, raw = answer, b"".join(answer.iter_raw())
    again = http_client.get(
        "/openapi.json", headers={"if-none-match": plain.headers["etag"], "accept-encoding": "identity"}
    )

    assert json.loads(gzip.decompress(raw)) == plain.json()
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert packed.headers["etag"] != plain.headers["etag"]
    assert (again.status_code, again.content) == (304, b"")


def test_a_model_and_its_fields_describe_themselves(document):
    """To change a word of the document is to change it in the model."""
    made, schema = resource_of(User), document["components"]["schemas"]["User"]

    assert schema["description"] == made.description
    assert {"name": "users", "description": made.description} in document["tags"]
    for name, field in made.fields.items():
        assert schema["properties"][name]["description"] == field.description
        assert schema["properties"][name]["examples"] == [field.example]
    assert document["components"]["schemas"]["UserCreate"]["properties"]["age"]["maximum"] == made.fields["age"].maximum


def test_an_endpoint_of_ones_own_describes_itself(monkeypatch):
    monkeypatch.setattr(api.app, "TOPICS", (sys.modules[__name__],))

    operation = document_for()["paths"]["/seats/{row}"]["get"]

    assert operation["operationId"] == "getSeat"
    assert (operation["summary"], operation["description"]) == ("Show a seat", "Where somebody sits.")
    assert operation["parameters"][0]["description"] == "The row."
    assert operation["parameters"][0]["schema"]["examples"] == [7]


def test_the_title_is_a_line(monkeypatch):
    monkeypatch.setattr(openapi, "TITLE", "Who is who")

    assert document_for()["info"]["title"] == "Who is who"
