"""Both doors under one handle, so that a test says what it promises once and holds it against either.

A `Door` speaks the models' own words: fields in snake_case, filters as `age__gte`, sorts as `-age`. What the service
refuses is raised as `Refused`, in the same words whichever door refused it.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from httpx2 import Response
from starlette.testclient import TestClient

from schema.engine.policy import Actor
from schema.engine.shape import Relation, Shape, shape
from schema.models import RESOURCES

ADMIN = Actor(roles=frozenset({"admin"}))
EDITOR = Actor(roles=frozenset({"editor"}))
READER = Actor(roles=frozenset({"reader"}))

Row = dict[str, Any]
SHAPES: dict[str, Shape] = {made.singular: made for made in map(shape, RESOURCES)}
USER, GROUP = SHAPES["user"], SHAPES["group"]


def person(user: Row | str) -> Actor:
    """An actor who is this user and nothing else."""
    return Actor(id=user if isinstance(user, str) else user["id"])


class Refused(Exception):
    """What a door answers to a request that it does not fulfil. Its text begins with the code."""

    def __init__(self, code: str, detail: str, faults: Iterable[Mapping[str, str]], status: int) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.status = code, detail, status
        self.faults = list(faults)

    @property
    def names(self) -> set[str]:
        """The fields and parameters that are to blame, in snake_case."""
        return {_blamed(fault) for fault in self.faults}


@dataclass(frozen=True)
class Page:
    """A stretch of a list, and the cursors that lead on from it, where it goes on."""

    items: list[Row]
    next: str | None
    previous: str | None
    total: int | None = None

    @property
    def ids(self) -> list[str]:
        return [item["id"] for item in self.items]


class Door(ABC):
    """A way in, used by one actor."""

    name: str

    def __init__(self, client: TestClient, actors: dict[str, Actor | None], actor: Actor | None = ADMIN) -> None:
        self.client = client
        self.actor = actor
        self._actors = actors

    def by(self, actor: Actor | None) -> Door:
        """The same door, used by somebody else."""
        return type(self)(self.client, self._actors, actor)

    @property
    def headers(self) -> dict[str, str]:
        """What tells the service who asks."""
        key = str(id(self))
        self._actors[key] = self.actor
        return {"x-actor": key}

    @abstractmethod
    def create(self, kind: str, **fields: Any) -> Row:
        """A new record."""

    @abstractmethod
    def get(self, kind: str, id: str) -> Row:
        """One record."""

    @abstractmethod
    def me(self) -> Row:
        """The actor's own user."""

    @abstractmethod
    def find(self, kind: str, below: tuple[str, str] | None = None, **asked: Any) -> Page:
        """A page: of all records of a kind, or of those that a relation (`below`: its name and the id above) leads to.

        `size`, `sort`, `after`, `before`, `count` and `q` as they are called; everything else is a filter.
        """

    @abstractmethod
    def update(self, kind: str, id: str, if_version: int | None = None, **fields: Any) -> Row:
        """The record with some fields changed."""

    @abstractmethod
    def delete(self, kind: str, id: str, if_version: int | None = None) -> None:
        """No such record any more."""

    @abstractmethod
    def call(self, verb: str, kind: str, id: str, if_version: int | None = None) -> Row:
        """The record after one of its own verbs."""

    @abstractmethod
    def link(self, kind: str, id: str, relation: str, far: str, **fields: Any) -> None:
        """Two records joined."""

    @abstractmethod
    def unlink(self, kind: str, id: str, relation: str, far: str) -> None:
        """Two records parted."""

    def everything(self, kind: str, below: tuple[str, str] | None = None, **asked: Any) -> list[Row]:
        """All items, page by page."""
        page = self.find(kind, below, **asked)
        items = page.items
        while page.next:
            page = self.find(kind, below, **{**asked, "after": page.next})
            items += page.items
        return items


class RestDoor(Door):
    name = "rest"

    def create(self, kind: str, **fields: Any) -> Row:
        return self._row(self.send("POST", _path(kind), json=fields))

    def get(self, kind: str, id: str) -> Row:
        return self._row(self.send("GET", _path(kind, id)))

    def me(self) -> Row:
        return self._row(self.send("GET", "/me"))

    def find(self, kind: str, below: tuple[str, str] | None = None, **asked: Any) -> Page:
        words = {"size": "limit"}
        params = {words.get(name, name): _spelled(value) for name, value in asked.items()}
        path = _path(kind) if below is None else _path(kind, below[1], below[0])
        response = self.send("GET", path, params=params)
        answer = response.json()
        links = {link["rel"]: parse_qs(urlsplit(link["url"]).query) for link in response.links.values()}
        following = links.get("next", {}).get("after", [None])[0]
        assert answer["next"] == following
        items = answer["items"]
        if below is not None:
            items = [_flat(item, SHAPES[kind].relations[below[0]]) for item in items]
        return Page(items, following, links.get("prev", {}).get("before", [None])[0], answer.get("total"))

    def update(self, kind: str, id: str, if_version: int | None = None, **fields: Any) -> Row:
        return self._row(self.send("PATCH", _path(kind, id), headers=_if_match(if_version), json=fields))

    def delete(self, kind: str, id: str, if_version: int | None = None) -> None:
        self.send("DELETE", _path(kind, id), headers=_if_match(if_version))

    def call(self, verb: str, kind: str, id: str, if_version: int | None = None) -> Row:
        return self._row(self.send("POST", _path(kind, id, verb), headers=_if_match(if_version), json={}))

    def link(self, kind: str, id: str, relation: str, far: str, **fields: Any) -> None:
        self.send("PUT", _path(kind, id, relation, far), **({"json": fields} if fields else {}))

    def unlink(self, kind: str, id: str, relation: str, far: str) -> None:
        self.send("DELETE", _path(kind, id, relation, far))

    def send(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
        """The answer, if it is no refusal."""
        response = self.client.request(method, path, headers={**self.headers, **(headers or {})}, **more)
        if response.status_code >= 400:
            problem = response.json()
            assert response.headers["content-type"] == "application/problem+json"
            raise Refused(problem["code"], problem["detail"], problem["errors"], response.status_code)
        return response

    def _row(self, response: Response) -> Row:
        row: Row = response.json()
        return row


class GraphQLDoor(Door):
    name = "graphql"

    def create(self, kind: str, **fields: Any) -> Row:
        return self._mutate(f"create{SHAPES[kind].name}", SHAPES[kind], fields)

    def get(self, kind: str, id: str) -> Row:
        made = SHAPES[kind]
        query = f"query($id: ID!) {{ {camel(kind)}(id: $id) {{ {_selection(made)} }} }}"
        return self._there(self.ask(query, id=id)[camel(kind)])

    def me(self) -> Row:
        return self._there(self.ask(f"{{ me {{ {_selection(SHAPES['user'])} }} }}")["me"])

    def find(self, kind: str, below: tuple[str, str] | None = None, **asked: Any) -> Page:
        made = SHAPES[kind]
        relation = made.relations[below[0]] if below else None
        target = shape(relation.target) if relation else made
        variables = _arguments(target, asked)
        used = {name: kind for name, kind in _types(target).items() if name in variables}
        passed = _in_parentheses(f"{name}: ${name}" for name in used)
        declared = [f"${name}: {kind}" for name, kind in used.items()]
        own = [camel(field.name) for field in relation.link_fields] if relation else []
        picked = [f"edges {{ cursor node {{ {_selection(target)} }} {' '.join(own)} }}"]
        picked += ["pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"]
        picked += ["totalCount"] if asked.get("count") else []
        field = camel(relation.name if relation else target.plural)
        query = f"{field}{passed} {{ {' '.join(picked)} }}"
        if below:
            declared, variables = [*declared, "$id: ID!"], {**variables, "id": below[1]}
            query = f"{camel(made.singular)}(id: $id) {{ {query} }}"
        data = self.ask(f"query{_in_parentheses(declared)} {{ {query} }}", **variables)
        return _page(self._there(data[camel(made.singular)])[field] if below else data[field])

    def update(self, kind: str, id: str, if_version: int | None = None, **fields: Any) -> Row:
        return self._mutate(f"update{SHAPES[kind].name}", SHAPES[kind], {"id": id, **_if_version(if_version), **fields})

    def delete(self, kind: str, id: str, if_version: int | None = None) -> None:
        name = f"delete{SHAPES[kind].name}"
        query = f"mutation($input: {pascal(name)}Input!) {{ {name}(input: $input) {{ deletedId }} }}"
        data = self.ask(query, input=_camel_keys({"id": id, **_if_version(if_version)}))
        assert data[name] == {"deletedId": id.lower()}

    def call(self, verb: str, kind: str, id: str, if_version: int | None = None) -> Row:
        return self._mutate(f"{camel(verb)}{SHAPES[kind].name}", SHAPES[kind], {"id": id, **_if_version(if_version)})

    def link(self, kind: str, id: str, relation: str, far: str, **fields: Any) -> None:
        self._join("add", SHAPES[kind].relations[relation], id, far, fields)

    def unlink(self, kind: str, id: str, relation: str, far: str) -> None:
        self._join("remove", SHAPES[kind].relations[relation], id, far, {})

    def ask(self, query: str, **variables: Any) -> Row:
        """The data, if there is no error."""
        answer = self.answer(query, **variables)
        if errors := answer.get("errors"):
            told = errors[0]["extensions"]
            raise Refused(told["code"], errors[0]["message"], told.get("errors", []), 200)
        data: Row = answer["data"]
        return data

    def answer(self, query: str, **variables: Any) -> Row:
        """The whole answer."""
        body = json.dumps({"query": query, "variables": variables})
        headers = {**self.headers, "content-type": "application/json"}
        answer: Row = self.client.post("/graphql", content=body, headers=headers).json()
        return answer

    def _mutate(self, name: str, made: Shape, given: Row) -> Row:
        one = camel(made.singular)
        query = (
            f"mutation($input: {pascal(name)}Input!) {{ {name}(input: $input) {{ {one} {{ {_selection(made)} }} }} }}"
        )
        return self._there(self.ask(query, input=_camel_keys(given))[name][one])

    def _join(self, deed: str, relation: Relation, id: str, far: str, fields: Row) -> None:
        name = f"{deed}{relation.source.__name__}{relation.singular_camel}"
        ends = [camel(shape(model).singular) for model in (relation.source, relation.target)]
        enums = {field.name for field in relation.link_fields if field.kind == "enum"}
        own = {
            key: value.upper() if key in enums and isinstance(value, str) else value for key, value in fields.items()
        }
        given = _camel_keys({relation.near: id, relation.far: far, **own})
        picked = " ".join(f"{end} {{ id }}" for end in ends)
        query = f"mutation($input: {pascal(name)}Input!) {{ {name}(input: $input) {{ {picked} }} }}"
        data = self.ask(query, input=given)
        assert data[name] == {ends[0]: {"id": id.lower()}, ends[1]: {"id": far.lower()}}

    def _there(self, found: Row | None) -> Row:
        """The record in snake_case; what GraphQL shows as null, REST refuses."""
        if found is None:
            raise Refused("NOT_FOUND", "it is null", [], 200)
        return {snake(key): value for key, value in found.items()}


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def pascal(name: str) -> str:
    return name[:1].upper() + name[1:]


def snake(name: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def _path(kind: str, *parts: str) -> str:
    return "/" + "/".join((SHAPES[kind].plural, *parts))


def _spelled(value: Any) -> Any:
    """A value as a query string has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return [_spelled(item) for item in value] if isinstance(value, list | tuple) else value


def _if_match(version: int | None) -> dict[str, str]:
    return {} if version is None else {"if-match": f'"{version}"'}


def _if_version(version: int | None) -> Row:
    return {} if version is None else {"if_version": version}


def _flat(item: Row, relation: Relation) -> Row:
    """An item of a relation's list as one row: what the link says of its own beside the record's fields."""
    if not relation.link_fields:
        return item
    record = item.pop(shape(relation.target).singular)
    return {**record, **{f"link_{name}": value for name, value in item.items()}}


def _page(found: Row) -> Page:
    """A connection as a page."""
    items, info = [], found["pageInfo"]
    for edge in found["edges"]:
        row = {snake(key): value for key, value in edge.pop("node").items()}
        cursor = edge.pop("cursor")
        own = {f"link_{snake(key)}": value.lower() if key == "role" else value for key, value in edge.items()}
        items.append({**row, **own})
        assert len(found["edges"]) > 1 or info["startCursor"] == info["endCursor"] == cursor
    following = info["endCursor"] if info["hasNextPage"] else None
    return Page(items, following, info["startCursor"] if info["hasPreviousPage"] else None, found.get("totalCount"))


def _selection(made: Shape) -> str:
    return " ".join(camel(field.name) for field in made.shown)


def _in_parentheses(parts: Iterable[str]) -> str:
    listed = ", ".join(parts)
    return f"({listed})" if listed else ""


def _camel_keys(given: Row) -> Row:
    return {camel(name): value for name, value in given.items()}


def _types(made: Shape) -> dict[str, str]:
    """A connection's arguments."""
    return {
        "q": "String",
        "filter": f"{made.name}Filter",
        "sort": f"[{made.name}Sort!]",
        "first": "Int",
        "last": "Int",
        "after": "String",
        "before": "String",
    }


def _arguments(made: Shape, asked: Row) -> Row:
    """The arguments of a connection, as GraphQL takes them."""
    arguments: Row = {name: asked[name] for name in ("after", "before") if name in asked}
    backward = "before" in asked and "after" not in asked
    if "size" in asked or backward:
        arguments["last" if backward else "first"] = asked.get("size", 20)
    if "sort" in asked:
        arguments["sort"] = [
            {"field": name.lstrip("-").upper(), "direction": "DESC" if name[0] == "-" else "ASC"}
            for name in asked["sort"].split(",")
        ]
    if "q" in asked:
        arguments["q"] = asked["q"]
    filters: dict[str, Row] = {}
    for name, value in asked.items():
        field, _, operator = name.partition("__")
        if name not in ("size", "sort", "after", "before", "count", "q"):
            filters.setdefault(camel(field), {})[operator or "eq"] = value
    return {**arguments, **({"filter": filters} if filters else {})}


def _blamed(fault: Mapping[str, str]) -> str:
    """The field that a fault is about: `age__gte`, `/age` and `/filter/age/gte` are all about the age."""
    if "parameter" in fault:
        return fault["parameter"].partition("__")[0]
    parts = [part for part in fault["pointer"].split("/") if not part.isdigit() and part not in _AROUND]
    return snake(parts[-1]) if parts else ""


_AROUND = {"input", "filter", "and", "or", "not", "eq", "in", "isnull"}
_AROUND |= {"lt", "lte", "gt", "gte", "startswith", "contains"}
