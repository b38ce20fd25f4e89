"""The service conforms to `/openapi.json`: it accepts valid requests, refuses others, and responds as documented.

The cases are read from the document, so that new operations are tested, too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.settings import read_settings
from schema.migrations.commands import migrate
from tests.fixtures.in_process import in_process_app

LISTS = ["/users", "/groups", "/users/{id}/groups", "/groups/{id}/members"]
BODIES = [
    ("POST", "/users"), ("PATCH", "/users/{id}"), ("POST", "/groups"), ("PATCH", "/groups/{id}"),
    ("PUT", "/groups/{id}/members/{user_id}"), ("POST", "/users/{id}/deactivate"), ("POST", "/greetings"),
]  # fmt: skip
# No schema can describe which cursors a list has issued.
CURSORS = {"after", "before"}
NOTHING = object()
numbers = itertools.count(1)


def schema_validator(schema: Mapping[str, Any]) -> Any:
    """A validator that checks formats too; jsonschema is imported late, because that takes two seconds."""
    from jsonschema import Draft202012Validator, FormatChecker

    return Draft202012Validator(schema, format_checker=FormatChecker())


class Service:
    """The service, with checks of each response against its document."""

    def __init__(self, http_client: TestClient) -> None:
        self.http_client = http_client
        self.document: dict[str, Any] = http_client.get("/openapi.json").json()
        self.user = http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()["id"]
        self.group = http_client.post("/groups", json={"name": "Engine"}).json()["id"]
        http_client.put(f"/groups/{self.group}/members/{self.user}")

    def operation(self, method: str, path: str) -> dict[str, Any]:
        return dict(self.document["paths"][path][method.lower()])

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Send a request, and check the response against the document."""
        own = self.user if path.startswith("/users") else self.group
        url = path.format(id=own, user_id=self.user)
        response = self.http_client.request(method, url, **request)
        responses = self.operation(method, path)["responses"]
        assert str(response.status_code) in responses, (response.status_code, response.text)
        self.check(self.whole(responses[str(response.status_code)]), response)
        return response

    def check(self, promised: Mapping[str, Any], response: Any) -> None:
        for name, header in promised["headers"].items():
            described = self.whole(header)
            if name in response.headers:
                value = response.headers[name]
                self.validate(described["schema"], int(value) if described["schema"]["type"] == "integer" else value)
            else:
                assert not described["required"], f"{name} is promised, and was not there"
        if "content" not in promised:
            assert response.content == b""
            return
        media = promised["content"][response.headers["content-type"]]
        self.validate(media["schema"], response.json())

    def validate(self, schema: Mapping[str, Any], value: Any) -> None:
        resolved = schema_validator({**schema, "components": self.document["components"]})
        errors = list(resolved.iter_errors(value))
        assert not errors, f"{errors[0].message} at {errors[0].json_path}"

    def whole(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Resolve a reference."""
        if "$ref" not in part:
            return dict(part)
        _, kind, name = part["$ref"].removeprefix("#/").split("/")
        return dict(self.document["components"][kind][name])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path = tmp_path_factory.mktemp("document") / "tandem.db"
    migrate(str(path))
    app = in_process_app(read_settings({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"}))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as http_client:
        yield Service(http_client)


def inside(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield values at the bounds of a schema."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "null" in types:
        yield None
    yield from (value for value in schema.get("examples", ()) if value is not None)
    if "enum" in schema:
        yield from (value for value in schema["enum"] if value is not None)
    elif "boolean" in types:
        yield from (True, False)
    elif "integer" in types:
        yield from (schema["minimum"], schema["maximum"], float(schema["minimum"]))
    elif "array" in types:
        (one, *_) = inside(schema["items"])
        yield from ([one] * schema["minItems"], [one] * schema["maxItems"])
    elif "string" in types:
        yield from texts(schema)


def texts(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield valid texts: the shortest, the longest, and unusual ones."""
    least, most = schema["minLength"], schema["maxLength"]
    spread = [letter * length for letter in "a👩\u0378\U0010ffff" for length in (least, most)]
    mails = [f"{'a' * (most - 2)}@b", "👩@👩", "a b@c"]
    times = ["0001-01-01T00:00:00+23:59", "9999-12-31t23:59:59.999999999-23:59", "2024-02-29T12:00:00.1z"]
    for text in [*spread, *mails, *times, "ÅNGSTRÖM", "o'Brien; --", "%_\\", "a, b"]:
        validator = schema_validator(schema)
        if least <= len(text) <= most and validator.is_valid(text):
            yield text


def outside(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield values just outside a schema, as JSON."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    yield from [{}, [[]]]
    if "null" not in types:
        yield None
    if "boolean" not in types:
        yield True
    if "integer" in types:
        yield from (schema["minimum"] - 1, schema["maximum"] + 1, 0.5, 10**30, "1")
    if "boolean" in types:
        yield from ("true", 1, "yes")
    if "string" in types:
        yield from (1, *strange_texts(schema))


def outside_of_url(schema: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield such values as texts of a URL."""
    if schema["type"] == "array":
        yield from outside_of_url(schema["items"])
        yield url_texts(next(inside(schema["items"]))) * (schema["maxItems"] + 1)
    elif schema["type"] == "integer":
        around = (schema["minimum"] - 1, schema["maximum"] + 1)
        yield from (
            [str(number)] for number in (*around, "", "x", "0.5", "1.0", "+1", "01", "1_0", "٣", " 1", "true", "9" * 99)
        )
    elif schema["type"] == "boolean":
        yield from ([text] for text in ("", "1", "yes", "True", "null"))
    else:
        yield from ([text] for text in strange_texts(schema))


def strange_texts(schema: Mapping[str, Any]) -> Iterator[str]:
    long = "a" * (schema.get("maxLength", 0) + 1)
    strange = ["", " ", "\u00a0", "a\x00", "a\n", "a\x9f", "a\r\n", long, "nobody", "2024-02-30T00:00:00Z"]
    validator = schema_validator(schema)
    yield from (text for text in strange if not is_valid(validator, schema, text))


def is_valid(validator: Any, schema: Mapping[str, Any], text: str) -> bool:
    """Validate with ECMA's patterns: `$` is the end, not the position before a final newline."""
    pattern = schema.get("pattern", "")
    return validator.is_valid(text) and not (pattern.endswith("$") and not re.fullmatch(pattern, text))


def url_texts(value: Any) -> list[str]:
    """Convert a value to a text of a URL."""
    values = value if isinstance(value, list) else [value]
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in values]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.slow
def test_a_list_accepts_valid_parameters(service, path):
    requests = 0

    for parameter in service.operation("GET", path)["parameters"]:
        if parameter["in"] != "query" or parameter["name"] in CURSORS:
            continue
        for value in inside(parameter["schema"]):
            if isinstance(value, float):
                continue
            response = service.ask("GET", path, params={parameter["name"]: url_texts(value)})
            assert response.status_code == 200, (parameter["name"], value, response.text)
            requests += 1

    assert requests > 50


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.slow
def test_a_list_refuses_invalid_parameters(service, path):
    requests = 0

    for parameter in service.operation("GET", path)["parameters"]:
        if parameter["in"] != "query":
            continue
        for texts in outside_of_url(parameter["schema"]):
            response = service.ask("GET", path, params={parameter["name"]: texts})
            assert response.status_code == 422, (parameter["name"], texts)
            assert response.json()["code"] == "VALIDATION_FAILED"
            assert {field_error["parameter"] for field_error in response.json()["errors"]} == {parameter["name"]}
            requests += 1

    assert requests > 50


def members(service: Service, method: str, path: str) -> tuple[dict[str, Any], list[str]]:
    """Return the members of a body, and the required ones."""
    media = next(iter(service.operation(method, path)["requestBody"]["content"].values()))
    schema = service.whole(media["schema"])
    return schema["properties"], schema.get("required", [])


def body_of(properties: Mapping[str, Any], required: list[str], **fields: Any) -> dict[str, Any]:
    """Return a body with the required members and these fields. Unique names are new each time."""
    body = {name: f"n{next(numbers)}" if name == "name" else properties[name]["examples"][0] for name in required}
    return {name: value for name, value in {**body, **fields}.items() if value is not NOTHING}


@pytest.mark.parametrize("method, path", BODIES)
@pytest.mark.slow
def test_a_valid_body_is_accepted(service, method, path):
    properties, required = members(service, method, path)

    assert service.ask(method, path, json=body_of(properties, required)).is_success
    for name, schema in properties.items():
        for value in inside(schema):
            response = service.ask(method, path, json=body_of(properties, required, **{name: value}))
            assert response.is_success or response.json()["code"] == "CONFLICT", (name, value, response.text)
            if response.content and name in response.json():
                assert response.json()[name] == value


@pytest.mark.parametrize("method, path", BODIES)
@pytest.mark.slow
def test_an_invalid_body_is_refused(service, method, path):
    properties, required = members(service, method, path)
    wrong = [(name, value) for name, schema in properties.items() for value in outside(schema)]
    wrong += [(name, NOTHING) for name in required] + [("nonsense", 1)]

    for name, value in wrong:
        response = service.ask(method, path, json=body_of(properties, required, **{name: value}))
        assert (response.status_code, response.json()["code"]) == (422, "VALIDATION_FAILED"), (
            name,
            value,
            response.text,
        )
        assert {field_error["pointer"] for field_error in response.json()["errors"]} == {f"/{name}"}


@pytest.mark.parametrize("method, path", BODIES)
@pytest.mark.parametrize("body", ["null", "[]", '"x"', "1", "true"])
def test_a_body_that_is_not_an_object_is_refused(service, method, path, body):
    response = service.ask(method, path, content=body, headers={"content-type": "application/json"})

    assert (response.status_code, response.json()["code"]) == (422, "VALIDATION_FAILED")


def test_every_operation_responds_as_documented(service):
    for path, item in service.document["paths"].items():
        for method in sorted(item, key=["get", "post", "put", "patch", "delete"].index):
            if method != "delete" and "requestBody" not in item[method]:
                assert service.ask(method.upper(), path).status_code in (200, 404)
            unknown = service.ask(method.upper(), path, params={"nonsense": "1"}, json={})
            assert unknown.status_code == 422
            assert unknown.json()["errors"][0] | {"message": ""} == {
                "parameter": "nonsense", "message": "", "code": "unknown",
            }  # fmt: skip


def test_deletions_respond_as_documented(service):
    service.user = service.http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()["id"]

    for path in ("/groups/{id}/members/{user_id}", "/users/{id}"):
        assert service.ask("DELETE", path, headers={"if-match": "*"}).status_code == 204
        assert service.ask("GET", path).status_code == 404


def test_documented_links_can_be_followed(service):
    body = service.http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()
    links = service.operation("POST", "/users")["responses"]["201"]["links"]

    assert {"getUser", "updateUser", "deleteUser", "listUserGroups", "deactivateUser"} <= links.keys()
    assert {link["parameters"]["id"] for link in links.values()} == {"$response.body#/id"}
    assert service.http_client.get(f"/users/{body['id']}").json() == body
