"""A custom endpoint is a typed function: its parameters, body and response follow from the signature."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlmodel import Field as Column
from sqlmodel import SQLModel
from starlette.testclient import TestClient

from api.app import create_app
from api.rest.endpoint import EndpointRequest
from api.rest.typed_endpoints import delete, endpoint, get, patch, post, put
from api.settings import read_settings
from schema.engine.errors import Conflict, NotFound
from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations import records
from schema.engine.operations.directory import Directory
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.selection import Scalar, Selection
from schema.migrations.commands import migrate
from schema.models import User
from tests.fixtures.in_process import in_process_app

JSON = {"content-type": "application/json"}
BASE = "http://127.0.0.1:8000"


class Item(BaseModel):
    name: str
    price: float
    is_offer: bool | None = None


@get("/items/{item_id}", summary="Read an item")
async def read_item(item_id: int, q: str | None = None) -> dict[str, Any]:
    return {"item_id": item_id, "q": q}


@put("/items/{item_id}", summary="Update an item")
async def update_item(item_id: int, item: Item) -> dict[str, Any]:
    return {"item_name": item.name, "item_id": item_id}


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    LARGE = 3


class Echo(BaseModel):
    """The converted values."""

    echo: str


@get("/plain", summary="Echo plain values")
async def plain(
    text: str = "-",
    number: int = 1,
    ratio: float = 0.5,
    sure: bool = False,
    colour: Colour = Colour.RED,
    size: Size = Size.SMALL,
    word: Literal["a", "b"] = "a",
    day: date | None = None,
    moment: datetime | None = None,
    key: UUID | None = None,
    either: int | str = 0,
) -> Echo:
    """Returns the values."""
    return Echo(echo=repr((text, number, ratio, sure, colour, size, word, day, moment, key, either)))


Few = Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=2, max_length=3, description="A few.")]


@get("/lists", summary="Echo lists")
async def lists(
    words: list[str], numbers: list[int] | None = None, colours: list[Colour] | None = None, few: Few | None = None
) -> Echo:
    """Returns the values."""
    return Echo(echo=repr((words, numbers, colours, few)))


class Animal(BaseModel):
    """An animal."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=10, examples=["Rex"])
    legs: int = Field(default=4, ge=0, le=1000)

    @field_validator("name")
    @classmethod
    def _no_cats(cls, name: str) -> str:
        if name == "Tom":
            raise ValueError("cats are not accepted")
        return name


@post("/animals", summary="Create an animal", errors=(Conflict,))
async def create_animal(animal: Animal) -> Animal:
    """Creates an animal."""
    if animal.name == "Rex":
        raise Conflict("there is a Rex already")
    return animal


@patch("/animals/{name}", summary="Update an animal")
async def update_animal(name: Annotated[str, Field(pattern="^[A-Z]")], animal: Animal | None = None) -> Animal | None:
    """Updates an animal."""
    return animal


@delete("/animals/{name}", summary="Delete an animal", errors=(NotFound,))
async def delete_animal(name: str) -> None:
    """Deletes an animal."""
    if name == "nobody":
        raise NotFound("there is no such animal")


class Plan(SQLModel):
    """A plan, without a table."""

    title: str = Column(max_length=20)
    steps: int = 1


@post("/plans", summary="Plan something", status=202, tag="users", name="makePlan")
async def plan(plan: Plan) -> Plan:
    """Plans something."""
    return plan


@dataclass
class Point:
    """A point."""

    x: int
    y: int = 0


@post("/points", summary="Draw points", status=200)
async def draw(points: list[Point]) -> list[Point]:
    """Draws points."""
    return points


class Row(BaseModel):
    """The public fields of a row."""

    id: int
    name: str


class SecretRow(Row):
    secret: str


@get("/rows", summary="Show rows")
async def rows() -> list[Row]:
    """Shows rows."""
    return [SecretRow(id=1, name="a", secret="s"), {"id": 2, "name": "b", "secret": "s"}]  # type: ignore[list-item]


@get("/broken", summary="Return an invalid value")
async def broken() -> Row:
    """Returns an invalid value."""
    return {"id": "x"}  # type: ignore[return-value]


@get("/who", summary="Show the actor")
async def whoami(actor: Actor, request: EndpointRequest, directory: Directory) -> Echo:
    """Returns the actor."""
    return Echo(
        echo=repr((sorted(actor.roles), request.actor is actor, request.directory is directory, request.url_path))
    )


@get("/ages/{id}", summary="Show an age", errors=(NotFound,))
async def age(id: UUID, unit_of_work: UnitOfWork) -> dict[str, int]:
    """Returns the age of a user."""
    record = await records.get(unit_of_work, resource_of(User), str(id), Selection((("age", Scalar("age")),)))
    response: dict[str, int] = json.loads(record.json)
    return response


@pytest.fixture(scope="module")
def http_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = tmp_path_factory.mktemp("typed") / "tandem.db"
    migrate(str(path))
    settings = read_settings({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"})
    app = in_process_app(settings, topics=(sys.modules[__name__],))
    with TestClient(app, base_url=BASE, client=("127.0.0.1", 50000)) as opened:
        yield opened


@pytest.fixture(scope="module")
def document(http_client: TestClient) -> dict[str, Any]:
    created: dict[str, Any] = http_client.get("/openapi.json").json()
    return created


def parameters(document: dict[str, Any], path: str) -> dict[str, Any]:
    return {parameter["name"]: parameter for parameter in document["paths"][path]["get"]["parameters"]}


@pytest.mark.slow
def test_the_first_example_of_fastapi_works(http_client, document):
    assert http_client.get("/items/5", params={"q": "x"}).json() == {"item_id": 5, "q": "x"}
    assert http_client.get("/items/5").json() == {"item_id": 5, "q": None}
    assert http_client.put("/items/5", json={"name": "Bar", "price": 1}).json() == {"item_name": "Bar", "item_id": 5}
    assert document["paths"]["/items/{item_id}"]["get"]["operationId"] == "readItem"
    assert document["components"]["schemas"]["Item"]["required"] == ["name", "price"]


@pytest.mark.parametrize(
    "query, expected",
    [
        ("", "('-', 1, 0.5, False, <Colour.RED: 'red'>, <Size.SMALL: 1>, 'a', None, None, None, 0)"),
        ("text=%C3%A4%20b", "'ä b'"),
        ("text=36", "'36'"),
        ("text=true", "'true'"),
        ("number=-7", "-7"),
        ("ratio=1e3", "1000.0"),
        ("ratio=2", "2.0"),
        ("sure=true", "True"),
        ("colour=blue", "<Colour.BLUE: 'blue'>"),
        ("size=3", "<Size.LARGE: 3>"),
        ("word=b", "'b'"),
        ("day=2026-11-22", "datetime.date(2026, 11, 22)"),
        ("moment=2026-11-22T09:30:00%2B01:00", "datetime.datetime(2026, 11, 22, 9, 30"),
        ("key=019AA0B1-7c30-7e6a-9d5b-0a4f6f2c1d11", "UUID('019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11')"),
        ("either=7", " 7)"),
        ("either=x7", " 'x7')"),
    ],
)
def test_plain_values_are_converted_by_their_types(http_client, query, expected):
    response = http_client.get(f"/plain?{query}")

    assert response.status_code == 200
    assert expected in response.json()["echo"]


@pytest.mark.parametrize(
    "query",
    [
        "text=a%00b", f"text={'x' * 1001}", "number=", "number=1.0", "number=+1", "number=01", "number=1_0",
        "number=x", f"number={2**63}", f"number={-(2**63) - 1}", "number=%D9%A3", "number=true", "ratio=nan",
        "ratio=inf", "ratio=.5", "ratio=", "sure=1", "sure=True", "sure=yes", "sure=", "colour=green", "colour=RED",
        "size=2",        "size=true",
        "size=SMALL", "word=c", "day=2026-02-30", "day=22.11.2026", "day=1763800000", "moment=2026-11-22",
        "moment=2026-11-22T09:30:00", "moment=1763800000", "key=x", "key=019aa0b17c307e6a9d5b0a4f6f2c1d11", "day=null",
        f"either={'x' * 1001}", f"either=1{'0' * 1000}",
    ],
)  # fmt: skip
def test_an_invalid_value_is_refused_by_name(http_client, query):
    response = http_client.get(f"/plain?{query}")

    assert (response.status_code, response.json()["code"]) == (422, "VALIDATION_FAILED")
    assert [field_error["parameter"] for field_error in response.json()["errors"]] == [query.partition("=")[0]]
    assert response.json()["errors"][0]["message"]


def test_an_optional_parameter_documents_its_default(document):
    record = parameters(document, "/plain")

    defaults = {
        name: parameter["schema"]["default"] for name, parameter in record.items() if "default" in parameter["schema"]
    }
    assert defaults == {
        "text": "-", "number": 1, "ratio": 0.5, "sure": False, "colour": "red", "size": 1, "word": "a", "either": 0,
    }  # fmt: skip
    assert not any(parameter["required"] for parameter in record.values())


def test_unbounded_types_get_bounds(document):
    schemas = {name: parameter["schema"] for name, parameter in parameters(document, "/plain").items()}

    assert schemas["text"]["maxLength"] == 1000
    assert (schemas["number"]["minimum"], schemas["number"]["maximum"]) == (-(2**63), 2**63 - 1)
    assert schemas["key"]["format"] == "uuid"
    assert parameters(document, "/lists")["words"]["schema"]["maxItems"] == 50


@pytest.mark.parametrize(
    "query, expected",
    [
        ("words=a", "(['a'], None, None, None)"),
        ("words=a&words=b,c", "(['a', 'b', 'c'], None, None, None)"),
        ("words=", "([''], None, None, None)"),
        ("words=a&numbers=1,2&numbers=3", "(['a'], [1, 2, 3], None, None)"),
        ("words=a&colours=red,blue", "[<Colour.RED: 'red'>, <Colour.BLUE: 'blue'>]"),
        ("words=a&few=5,5,1", "[5, 5, 1]"),
    ],
)
def test_a_list_is_separated_by_commas_or_repeated(http_client, query, expected):
    assert expected in http_client.get(f"/lists?{query}").json()["echo"]


@pytest.mark.parametrize(
    "query, name",
    [
        ("", "words"),
        ("words=a&numbers=1,x", "numbers"),
        ("words=a&colours=red,green", "colours"),
        ("words=a&few=1", "few"),
        ("words=a&few=1,2,3,4", "few"),
        ("words=a&few=1,6", "few"),
        (f"words={','.join('a' * 51)}", "words"),
    ],
)
def test_a_list_has_bounds(http_client, query, name):
    response = http_client.get(f"/lists?{query}")

    assert response.status_code == 422
    assert [field_error["parameter"] for field_error in response.json()["errors"]] == [name]


def test_a_list_is_documented_as_form_and_explode(document):
    few = parameters(document, "/lists")["few"]

    assert (few["style"], few["explode"], few["description"]) == ("form", True, "A few.")
    assert (few["schema"]["minItems"], few["schema"]["maxItems"], few["schema"]["items"]["maximum"]) == (2, 3, 5)


def test_a_value_in_the_path_is_converted_by_its_type(http_client):
    for path, name in [("/items/x", "item_id"), ("/items/1.5", "item_id"), ("/ages/x", "id")]:
        response = http_client.get(path)
        assert response.status_code == 422
        assert [field_error["parameter"] for field_error in response.json()["errors"]] == [name]
    assert http_client.patch("/animals/rex").status_code == 422
    assert http_client.patch("/animals/Rex").status_code == 200


@pytest.mark.parametrize(
    "body, status",
    [
        ('{"name": "Tux"}', 201),
        ('{"name": "Tux", "legs": 2.0}', 201),
        ('{"name": "Tux", "legs": 2e0}', 201),
        ('{"name": "Tux", "legs": "2"}', 422),
        ('{"name": "Tux", "legs": true}', 422),
        ('{"name": "Tux", "legs": 2.5}', 422),
        ('{"name": "Tux", "legs": 1001}', 422),
        ('{"name": "Tux", "legs": 1e30}', 422),
        ('{"name": "Tux", "legs": null}', 422),
        ('{"name": "Tux", "wings": 2}', 422),
        ('{"name": ""}', 422),
        ('{"name": "Tom"}', 422),
        ("{}", 422),
        ("null", 422),
        ("[]", 422),
        ('{"name": "Tux", "name": "Tux"}', 400),
        ('{"name": "Tux", "legs": NaN}', 400),
        ('{"name": "Tux"', 400),
        ("", 400),
        ('{"name": "Rex"}', 409),
    ],
)
def test_a_body_is_validated_strictly(http_client, body, status):
    assert http_client.post("/animals", content=body, headers=JSON).status_code == status


def test_an_error_in_a_body_has_a_pointer(http_client):
    response = http_client.post("/points", json=[{"x": 1}, {"x": "1", "y": None}])

    assert [field_error["pointer"] for field_error in response.json()["errors"]] == ["/1/x", "/1/y"]
    cats = http_client.post("/animals", json={"name": "Tom"}).json()["errors"]
    assert cats == [{"pointer": "/name", "message": "cats are not accepted", "code": "invalid"}]


def test_a_body_with_a_default_is_optional(http_client):
    assert http_client.patch("/animals/Tux").json() is None
    assert http_client.patch("/animals/Tux", content="null", headers=JSON).json() is None
    assert http_client.patch("/animals/Tux", json={"name": "Tux"}).json() == {"name": "Tux", "legs": 4}


@pytest.mark.parametrize("steps, status", [("2", 202), ('"2"', 422), ("true", 422), ("2.0", 202), ("null", 422)])
def test_an_sqlmodel_is_validated_strictly(http_client, steps, status):
    response = http_client.post("/plans", content=f'{{"title": "x", "steps": {steps}}}', headers=JSON)

    assert response.status_code == status
    assert status != 202 or response.json() == {"title": "x", "steps": 2}


def test_none_is_204_without_content(http_client, document):
    gone = http_client.delete("/animals/Tux")

    assert (gone.status_code, gone.content) == (204, b"")
    assert "content-type" not in gone.headers
    assert http_client.delete("/animals/nobody").json()["code"] == "NOT_FOUND"
    assert {"204", "404"} <= document["paths"]["/animals/{name}"]["delete"]["responses"].keys()


def test_a_response_has_only_the_fields_of_its_annotation(http_client):
    assert http_client.get("/rows").json() == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]


def test_an_invalid_return_value_is_an_internal_error(http_client):
    assert http_client.get("/broken").json()["code"] == "INTERNAL"


def test_the_actor_and_the_directory_are_passed(http_client, document):
    assert http_client.get("/who").json()["echo"] == "(['admin'], True, True, '/who')"
    assert document["paths"]["/who"]["get"]["parameters"] == []


def test_a_unit_of_work_reads_as_the_actor(http_client):
    created = http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()

    assert http_client.get(f"/ages/{created['id']}").json() == {"age": 36}
    assert http_client.get("/ages/00000000-0000-7000-8000-000000000000").json()["code"] == "NOT_FOUND"


def test_a_typed_endpoint_is_documented(document):
    operation = document["paths"]["/animals"]["post"]
    body = operation["requestBody"]["content"]["application/json"]

    assert (operation["summary"], operation["description"]) == ("Create an animal", "Creates an animal.")
    assert (operation["operationId"], operation["tags"]) == ("createAnimal", ["test_typed_endpoints"])
    assert {"201", "400", "401", "409", "413", "415", "422", "500", "503"} <= operation["responses"].keys()
    assert body["schema"] == {"$ref": "#/components/schemas/AnimalInput"}
    assert body["examples"]["whole"]["value"] == {"name": "Rex"}
    assert document["components"]["schemas"]["Animal"]["required"] == ["name", "legs"]
    assert document["components"]["schemas"]["AnimalInput"]["required"] == ["name"]
    legs = document["components"]["schemas"]["AnimalInput"]["properties"]["legs"]
    assert (legs["description"], legs["format"]) == ("Legs. Default: `4`.", "int32")
    planned = document["paths"]["/plans"]["post"]
    assert (planned["operationId"], planned["tags"], "202" in planned["responses"]) == ("makePlan", ["users"], True)


async def nothing() -> None: ...
async def without_return(): ...
def synchronous() -> None: ...
async def without_annotation(x) -> None: ...
async def variadic(*numbers: int) -> None: ...
async def two_bodies(first: Animal, second: Animal) -> None: ...
async def body(animal: Animal) -> None: ...
async def table(user: User) -> None: ...


@pytest.mark.parametrize(
    "method, path, function, message",
    [
        ("GET", "/x", synchronous, "an endpoint must be an `async def`"),
        ("GET", "/x", without_return, "must have a return annotation"),
        ("GET", "x", nothing, "the path must be like /things/{id}, got 'x'"),
        ("GET", "/x/", nothing, "the path must be like /things/{id}, got '/x/'"),
        ("GET", "/x/{id}", nothing, "{id} in the path must be a parameter of a plain type"),
        ("POST", "/x/{animal}", body, "{animal} in the path must be a parameter of a plain type"),
        ("GET", "/x", without_annotation, "x must have an annotation"),
        ("GET", "/x", variadic, "numbers must not be variadic"),
        ("POST", "/x", two_bodies, "must have at most one body, got first, second"),
        ("GET", "/x", body, "a GET must have no body, got animal"),
        ("DELETE", "/x", body, "a DELETE must have no body"),
        ("POST", "/x", table, "User must not be a table"),
    ],
)
def test_an_invalid_declaration_stops_the_import(method, path, function, message):
    with pytest.raises(AssertionError) as error:
        endpoint(method, path, summary="X")(function)

    assert function.__qualname__ in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"name": "listUsers", "path": "/x"}, "two endpoints have the name listUsers"),
        ({"name": "x", "path": "/users"}, "two endpoints are declared for GET /users"),
        ({"name": "x", "path": "/x", "tag": "strange"}, "the tag strange must have a description"),
    ],
)
def test_duplicates_and_unknown_tags_stop_the_start(changes, message):
    topic = type(sys)("topic", "A topic.")
    topic.one = get(changes.pop("path"), summary="X", **{"tag": "topic", **changes})(nothing)  # type: ignore[attr-defined]
    settings = read_settings({"TANDEM_ENV": "development", "DATABASE_URL": "sqlite:///nowhere.db"})

    with pytest.raises(AssertionError, match=message):
        create_app(settings, topics=(topic,))


def test_a_time_keeps_its_offset(http_client):
    echo = http_client.get("/plain", params={"moment": datetime(2026, 11, 22, tzinfo=UTC).isoformat()}).json()["echo"]

    assert "TzInfo(0)" in echo or "timezone.utc" in echo
