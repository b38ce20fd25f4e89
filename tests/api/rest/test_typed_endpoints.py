"""An endpoint of one's own is a typed function and nothing else: what it takes and gives follows from its signature."""

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

import api.app
from api.rest.endpoint import EndpointRequest
from api.rest.typed_endpoints import delete, endpoint, get, patch, post, put
from api.settings import read
from schema.engine.errors import Conflict, NotFound
from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations import records
from schema.engine.operations.directory import Directory, UnitOfWork
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


class Said(BaseModel):
    """What was understood."""

    said: str


@get("/plain", summary="Understand plain values")
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
) -> Said:
    """Says what it was given."""
    return Said(said=repr((text, number, ratio, sure, colour, size, word, day, moment, key, either)))


Few = Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=2, max_length=3, description="A few.")]


@get("/lists", summary="Understand lists")
async def lists(
    words: list[str], numbers: list[int] | None = None, colours: list[Colour] | None = None, few: Few | None = None
) -> Said:
    """Says what it was given."""
    return Said(said=repr((words, numbers, colours, few)))


class Animal(BaseModel):
    """An animal."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=10, examples=["Rex"])
    legs: int = Field(default=4, ge=0, le=1000)

    @field_validator("name")
    @classmethod
    def _no_cats(cls, name: str) -> str:
        if name == "Tom":
            raise ValueError("cats are not taken")
        return name


@post("/animals", summary="Take in an animal", errors=(Conflict,))
async def take_in(animal: Animal) -> Animal:
    """Takes in an animal."""
    if animal.name == "Rex":
        raise Conflict("there is a Rex already")
    return animal


@patch("/animals/{name}", summary="Change an animal, or let it be")
async def change(name: Annotated[str, Field(pattern="^[A-Z]")], animal: Animal | None = None) -> Animal | None:
    """Changes an animal."""
    return animal


@delete("/animals/{name}", summary="Let an animal go", errors=(NotFound,))
async def let_go(name: str) -> None:
    """Lets an animal go."""
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
    """A row as others may see it."""

    id: int
    name: str


class SecretRow(Row):
    secret: str


@get("/rows", summary="Show rows")
async def rows() -> list[Row]:
    """Shows rows."""
    return [SecretRow(id=1, name="a", secret="s"), {"id": 2, "name": "b", "secret": "s"}]  # type: ignore[list-item]


@get("/broken", summary="Break a promise")
async def broken() -> Row:
    """Breaks its promise."""
    return {"id": "x"}  # type: ignore[return-value]


@get("/who", summary="Say who asks")
async def who(actor: Actor, call: EndpointRequest, directory: Directory) -> Said:
    """Says who asks."""
    return Said(said=repr((sorted(actor.roles), call.actor is actor, call.directory is directory, call.url_path)))


@get("/ages/{id}", summary="Say how old somebody is", errors=(NotFound,))
async def age(id: UUID, unit_of_work: UnitOfWork) -> dict[str, int]:
    """Says how old somebody is."""
    found = await records.get(unit_of_work, resource_of(User), str(id), Selection((("age", Scalar("age")),)))
    answer: dict[str, int] = json.loads(found.json)
    return answer


@pytest.fixture(scope="module")
def http_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = tmp_path_factory.mktemp("typed") / "tandem.db"
    migrate(str(path))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api.app, "TOPICS", (sys.modules[__name__],))
        app = in_process_app(read({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"}))
    with TestClient(app, base_url=BASE, client=("127.0.0.1", 50000)) as opened:
        yield opened


@pytest.fixture(scope="module")
def document(http_client: TestClient) -> dict[str, Any]:
    made: dict[str, Any] = http_client.get("/openapi.json").json()
    return made


def parameters(document: dict[str, Any], path: str) -> dict[str, Any]:
    return {it["name"]: it for it in document["paths"][path]["get"]["parameters"]}


def test_the_founding_example_is_as_short_here(http_client, document):
    assert http_client.get("/items/5", params={"q": "x"}).json() == {"item_id": 5, "q": "x"}
    assert http_client.get("/items/5").json() == {"item_id": 5, "q": None}
    assert http_client.put("/items/5", json={"name": "Bar", "price": 1}).json() == {"item_name": "Bar", "item_id": 5}
    assert document["paths"]["/items/{item_id}"]["get"]["operationId"] == "readItem"
    assert document["components"]["schemas"]["Item"]["required"] == ["name", "price"]


@pytest.mark.parametrize(
    "query, understood",
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
def test_plain_values_are_read_by_their_types(http_client, query, understood):
    answer = http_client.get(f"/plain?{query}")

    assert answer.status_code == 200
    assert understood in answer.json()["said"]


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
def test_what_does_not_fit_is_refused_and_named(http_client, query):
    answer = http_client.get(f"/plain?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_FAILED")
    assert [field_error["parameter"] for field_error in answer.json()["errors"]] == [query.partition("=")[0]]
    assert answer.json()["errors"][0]["message"]


def test_what_is_optional_says_what_it_is_else(document):
    found = parameters(document, "/plain")

    defaults = {name: it["schema"]["default"] for name, it in found.items() if "default" in it["schema"]}
    assert defaults == {
        "text": "-", "number": 1, "ratio": 0.5, "sure": False, "colour": "red", "size": 1, "word": "a", "either": 0,
    }  # fmt: skip
    assert not any(it["required"] for it in found.values())


def test_what_a_type_leaves_open_is_bounded(document):
    schemas = {name: it["schema"] for name, it in parameters(document, "/plain").items()}

    assert schemas["text"]["maxLength"] == 1000
    assert (schemas["number"]["minimum"], schemas["number"]["maximum"]) == (-(2**63), 2**63 - 1)
    assert schemas["key"]["format"] == "uuid"
    assert parameters(document, "/lists")["words"]["schema"]["maxItems"] == 50


@pytest.mark.parametrize(
    "query, understood",
    [
        ("words=a", "(['a'], None, None, None)"),
        ("words=a&words=b,c", "(['a', 'b', 'c'], None, None, None)"),
        ("words=", "([''], None, None, None)"),
        ("words=a&numbers=1,2&numbers=3", "(['a'], [1, 2, 3], None, None)"),
        ("words=a&colours=red,blue", "[<Colour.RED: 'red'>, <Colour.BLUE: 'blue'>]"),
        ("words=a&few=5,5,1", "[5, 5, 1]"),
    ],
)
def test_a_list_is_parted_by_commas_or_repeated(http_client, query, understood):
    assert understood in http_client.get(f"/lists?{query}").json()["said"]


@pytest.mark.parametrize(
    "query, blamed",
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
def test_a_list_has_its_bounds(http_client, query, blamed):
    answer = http_client.get(f"/lists?{query}")

    assert answer.status_code == 422
    assert [field_error["parameter"] for field_error in answer.json()["errors"]] == [blamed]


def test_a_list_is_declared_as_it_is_taken(document):
    few = parameters(document, "/lists")["few"]

    assert (few["style"], few["explode"], few["description"]) == ("form", True, "A few.")
    assert (few["schema"]["minItems"], few["schema"]["maxItems"], few["schema"]["items"]["maximum"]) == (2, 3, 5)


def test_a_value_in_the_path_is_read_by_its_type_too(http_client):
    for path, blamed in [("/items/x", "item_id"), ("/items/1.5", "item_id"), ("/ages/x", "id")]:
        answer = http_client.get(path)
        assert answer.status_code == 422
        assert [field_error["parameter"] for field_error in answer.json()["errors"]] == [blamed]
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
def test_a_body_is_read_as_strictly_as_its_schema_says(http_client, body, status):
    assert http_client.post("/animals", content=body, headers=JSON).status_code == status


def test_a_fault_in_a_body_is_pointed_to(http_client):
    answer = http_client.post("/points", json=[{"x": 1}, {"x": "1", "y": None}])

    assert [field_error["pointer"] for field_error in answer.json()["errors"]] == ["/1/x", "/1/y"]
    cats = http_client.post("/animals", json={"name": "Tom"}).json()["errors"]
    assert cats == [{"pointer": "/name", "message": "cats are not taken", "code": "invalid"}]


def test_a_body_may_be_left_out_where_it_has_a_default(http_client):
    assert http_client.patch("/animals/Tux").json() is None
    assert http_client.patch("/animals/Tux", content="null", headers=JSON).json() is None
    assert http_client.patch("/animals/Tux", json={"name": "Tux"}).json() == {"name": "Tux", "legs": 4}


@pytest.mark.parametrize("steps, status", [("2", 202), ('"2"', 422), ("true", 422), ("2.0", 202), ("null", 422)])
def test_a_sqlmodel_is_as_strict_as_any_other(http_client, steps, status):
    answer = http_client.post("/plans", content=f'{{"title": "x", "steps": {steps}}}', headers=JSON)

    assert answer.status_code == status
    assert status != 202 or answer.json() == {"title": "x", "steps": 2}


def test_nothing_is_204_and_no_content(http_client, document):
    gone = http_client.delete("/animals/Tux")

    assert (gone.status_code, gone.content) == (204, b"")
    assert "content-type" not in gone.headers
    assert http_client.delete("/animals/nobody").json()["code"] == "NOT_FOUND"
    assert {"204", "404"} <= document["paths"]["/animals/{name}"]["delete"]["responses"].keys()


def test_an_answer_has_the_form_of_its_annotation_and_no_more(http_client):
    assert http_client.get("/rows").json() == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]


def test_an_answer_that_breaks_its_promise_is_our_fault(http_client):
    assert http_client.get("/broken").json()["code"] == "INTERNAL"


def test_who_asks_and_the_directory_are_handed_in(http_client, document):
    assert http_client.get("/who").json()["said"] == "(['admin'], True, True, '/who')"
    assert document["paths"]["/who"]["get"]["parameters"] == []


def test_a_work_reads_what_the_actor_may_see(http_client):
    made = http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()

    assert http_client.get(f"/ages/{made['id']}").json() == {"age": 36}
    assert http_client.get("/ages/00000000-0000-7000-8000-000000000000").json()["code"] == "NOT_FOUND"


def test_it_is_documented_like_every_other(document):
    operation = document["paths"]["/animals"]["post"]
    body = operation["requestBody"]["content"]["application/json"]

    assert (operation["summary"], operation["description"]) == ("Take in an animal", "Takes in an animal.")
    assert (operation["operationId"], operation["tags"]) == ("takeIn", ["test_typed_endpoints"])
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
async def unsaid(): ...
def plainly() -> None: ...
async def untyped(x) -> None: ...
async def several(*numbers: int) -> None: ...
async def two(one: Animal, other: Animal) -> None: ...
async def body(animal: Animal) -> None: ...
async def table(user: User) -> None: ...


@pytest.mark.parametrize(
    "method, path, function, words",
    [
        ("GET", "/x", plainly, "an endpoint must be an `async def`"),
        ("GET", "/x", unsaid, "the return annotation is missing"),
        ("GET", "x", nothing, "invalid path 'x'"),
        ("GET", "/x/", nothing, "invalid path '/x/'"),
        ("GET", "/x/{id}", nothing, "{id} in the path must be a parameter of a plain type"),
        ("POST", "/x/{animal}", body, "{animal} in the path must be a parameter of a plain type"),
        ("GET", "/x", untyped, "x has no annotation"),
        ("GET", "/x", several, "numbers must not be variadic"),
        ("POST", "/x", two, "one, other are several"),
        ("GET", "/x", body, "a GET has no body, but animal is one"),
        ("DELETE", "/x", body, "a DELETE has no body"),
        ("POST", "/x", table, "User is a table"),
    ],
)
def test_a_programmers_mistake_ends_the_import(method, path, function, words):
    with pytest.raises(AssertionError) as mistake:
        endpoint(method, path, summary="X")(function)

    assert function.__qualname__ in str(mistake.value)
    assert words in str(mistake.value)


@pytest.mark.parametrize(
    "made, words",
    [
        ({"name": "listUsers", "path": "/x"}, "two endpoints have the name listUsers"),
        ({"name": "x", "path": "/users"}, "two endpoints are declared for GET /users"),
        ({"name": "x", "path": "/x", "tag": "strange"}, "the tag strange has no description"),
    ],
)
def test_a_name_a_place_and_a_tag_are_settled_at_the_start(monkeypatch, made, words):
    topic = type(sys)("topic", "A topic.")
    topic.one = get(made.pop("path"), summary="X", **{"tag": "topic", **made})(nothing)  # type: ignore[attr-defined]
    monkeypatch.setattr(api.app, "TOPICS", (topic,))

    with pytest.raises(AssertionError, match=words):
        api.app.create_app(read({"TANDEM_ENV": "development", "DATABASE_URL": "sqlite:///nowhere.db"}))


def test_a_moment_keeps_its_offset(http_client):
    said = http_client.get("/plain", params={"moment": datetime(2026, 11, 22, tzinfo=UTC).isoformat()}).json()["said"]

    assert "TzInfo(0)" in said or "timezone.utc" in said
