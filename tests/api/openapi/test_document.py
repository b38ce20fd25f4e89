"""`/openapi.json` is valid, complete and precise: every operation, error and bound, with valid examples.

`test_conformance.py` tests that the service conforms to it.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import Field
from starlette.testclient import TestClient

from api.app import create_app
from api.endpoints import TOPICS
from api.openapi.document import DESCRIPTION, TITLE, VERSION
from api.rest.typed_endpoints import get
from api.settings import read_settings
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
async def get_seat(row: Annotated[int, Field(ge=1, le=20, description="The row.", examples=[7])]) -> dict[str, int]:
    """Returns a seat."""
    return {"row": row}


def document_for(environment: str = "development", topics: Sequence[ModuleType] = TOPICS) -> dict[str, Any]:
    """Return the document. The database is never opened."""
    settings = read_settings({"TANDEM_ENV": environment, "DATABASE_URL": "sqlite:///nowhere.db"})
    document: dict[str, Any] = (
        TestClient(create_app(settings, topics=topics), base_url=BASE).get("/openapi.json").json()
    )
    return document


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return document_for()


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each operation with its method and path."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def schemas(part: Any, location: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each schema of the document that has a type, with its location."""
    if isinstance(part, list):
        for number, item in enumerate(part):
            yield from schemas(item, f"{location}/{number}")
    elif isinstance(part, dict):
        if isinstance(part.get("type"), str | list) and not location.endswith(
            ("/properties", "/securitySchemes/bearer")
        ):
            yield location, part
        for key, item in part.items():
            if key not in ("example", "examples", "value", "default"):
                yield from schemas(item, f"{location}/{key}")


def types_of(schema: Mapping[str, Any]) -> list[str]:
    return schema["type"] if isinstance(schema["type"], list) else [schema["type"]]


def resolved(document: Mapping[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    result: Any = document
    for name in part["$ref"].removeprefix("#/").split("/"):
        result = result[name]
    return dict(result)


@pytest.mark.slow
def test_the_document_is_valid_openapi(document):
    from openapi_spec_validator import validate  # imported late: it takes seconds

    validate(document)

    assert document["openapi"].startswith("3.1.")


def test_operations_keep_their_names(document):
    assert {location: operation["operationId"] for location, operation in operations(document)} == OPERATIONS


def test_an_operation_has_a_summary_a_description_and_tags(document):
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}

    for location, operation in operations(document):
        assert operation["summary"], location
        assert operation["description"], location
        assert all(tags[tag] for tag in operation["tags"]), location
        assert all(parameter["description"] for parameter in operation["parameters"]), location


def test_every_error_response_is_a_problem_with_an_example(document):
    for location, operation in operations(document):
        refused = {status: item for status, item in operation["responses"].items() if status >= "400"}
        assert refused.keys() >= EVERYWHERE, location
        for status, response in refused.items():
            content = resolved(document, response)["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert {item["value"]["status"] for item in content["examples"].values()} == {int(status)}


@pytest.mark.parametrize(
    "location, more",
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
def test_an_operation_lists_its_error_statuses(document, location, more):
    responses = dict(operations(document))[location]["responses"]

    assert {status for status in responses if status >= "400"} == EVERYWHERE | more


def test_objects_are_closed(document):
    for location, schema in schemas(document):
        if "object" in types_of(schema):
            assert schema["additionalProperties"] is False, location


def test_every_schema_has_bounds(document):
    for location, schema in schemas(document):
        types = types_of(schema)
        if "string" in types and "enum" not in schema:
            assert schema["maxLength"], location
            assert schema.keys() & {"format", "pattern"}, location
        if "integer" in types:
            assert schema["minimum"] <= schema["maximum"], location
            assert schema["format"] in ("int32", "int64"), location
        if "array" in types:
            assert schema["maxItems"], location


def test_patterns_are_anchored(document):
    for location, schema in schemas(document):
        assert re.fullmatch(r"\^.*\$", schema.get("pattern", "^$")), location


def test_every_example_is_valid(document):
    from jsonschema import Draft202012Validator

    result = list(examples(document))

    assert len(result) > 200
    for location, schema, example in result:
        errors = list(Draft202012Validator({**schema, "components": document["components"]}).iter_errors(example))
        assert not errors, f"{location}: {errors[0].message}"


def examples(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield each example with its schema."""
    for location, schema in schemas(document):
        for example in schema.get("examples", ()):
            yield location, schema, example
    for name, header in document["components"]["headers"].items():
        yield name, header["schema"], header["example"]
    for location, operation in operations(document):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for response in [*bodies, *(resolved(document, item) for item in operation["responses"].values())]:
            for media in response.get("content", {}).values():
                for example in media["examples"].values():
                    yield location, media["schema"], example["value"]


def test_bodies_and_responses_have_examples(document):
    for location, operation in operations(document):
        contents = [
            operation.get("requestBody", {}),
            *(resolved(document, item) for item in operation["responses"].values()),
        ]
        for content in contents:
            assert all(media["examples"] for media in content.get("content", {}).values()), location


def test_every_parameter_except_cursors_has_an_example(document):
    for location, operation in operations(document):
        without = {item["name"] for item in operation["parameters"] if "examples" not in item["schema"]}
        assert without <= {"after", "before"}, location


def test_links_lead_to_operations_and_their_parameters(document):
    known = {operation["operationId"]: operation for _, operation in operations(document)}
    links = [
        (location, name, link)
        for location, operation in operations(document)
        for response in operation["responses"].values()
        for name, link in response.get("links", {}).items()
    ]

    assert {location for location, _, _ in links} >= {"POST /users", "GET /users", "PUT /groups/{id}/members/{user_id}"}
    for location, name, link in links:
        parameters = known[link["operationId"]]["parameters"]
        assert link["parameters"].keys() <= {parameter["name"] for parameter in parameters}, (location, name)
        required = {parameter["name"] for parameter in parameters if parameter["required"]}
        assert link["parameters"].keys() >= required, (location, name)


def test_lists_are_declared_as_form_and_explode(document):
    lists = [
        item for _, operation in operations(document) for item in operation["parameters"] if "items" in item["schema"]
    ]

    assert {item["name"] for item in lists} >= {"id__in", "age__in", "first_name__in", "active__in", "created_at__in"}
    assert all((item["style"], item["explode"]) == ("form", True) for item in lists)


def test_members_of_a_body_declare_no_default(document):
    """Client generators treat a member with a default as one that is always sent."""
    for name in ("UserCreate", "UserUpdate", "GroupCreate", "GroupUpdate", "GroupMemberInput"):
        members = document["components"]["schemas"][name]["properties"]
        assert not [key for key, schema in members.items() if "default" in schema]
    assert "Default: `true`" in document["components"]["schemas"]["UserCreate"]["properties"]["active"]["description"]


@pytest.mark.parametrize(
    "environment, security, description",
    [
        ("development", [{"bearer": []}, {}], "This server, local development environment"),
        ("production", [{"bearer": []}], "This server, production environment"),
    ],
)
@pytest.mark.slow
def test_security_and_servers_follow_the_environment(environment, security, description):
    document = document_for(environment)

    assert document["security"] == security
    assert document["servers"] == [{"url": ".", "description": description, "x-internal": "false"}]
    assert document["paths"] == document_for()["paths"]


def test_the_document_is_served_with_gzip_and_etags():
    settings = read_settings({"TANDEM_ENV": "production", "DATABASE_URL": "sqlite:///nowhere.db"})
    http_client = TestClient(create_app(settings), base_url=BASE)

    plain = http_client.get("/openapi.json", headers={"accept-encoding": "identity"})
    with http_client.stream("GET", "/openapi.json", headers={"accept-encoding": "gzip"}) as response:
        packed, raw = response, b"".join(response.iter_raw())
    again = http_client.get(
        "/openapi.json", headers={"if-none-match": plain.headers["etag"], "accept-encoding": "identity"}
    )

    assert json.loads(gzip.decompress(raw)) == plain.json()
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert packed.headers["etag"] != plain.headers["etag"]
    assert (again.status_code, again.content) == (304, b"")


def test_descriptions_come_from_the_model(document):
    """The document has no descriptions of its own."""
    resource, schema = resource_of(User), document["components"]["schemas"]["User"]

    assert schema["description"] == resource.description
    assert {"name": "users", "description": resource.description} in document["tags"]
    for name, field in resource.fields.items():
        assert schema["properties"][name]["description"] == field.description
        assert schema["properties"][name]["examples"] == [field.example]
    assert (
        document["components"]["schemas"]["UserCreate"]["properties"]["age"]["maximum"]
        == resource.fields["age"].maximum
    )


def test_descriptions_of_a_custom_endpoint_come_from_its_declaration():
    operation = document_for(topics=(sys.modules[__name__],))["paths"]["/seats/{row}"]["get"]

    assert operation["operationId"] == "getSeat"
    assert (operation["summary"], operation["description"]) == ("Show a seat", "Returns a seat.")
    assert operation["parameters"][0]["description"] == "The row."
    assert operation["parameters"][0]["schema"]["examples"] == [7]


def test_title_version_and_description_are_constants(document):
    info = document["info"]

    assert (info["title"], info["version"], info["description"]) == (TITLE, VERSION, DESCRIPTION)
