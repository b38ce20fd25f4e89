"""Every filter finds what plain Python finds, alone and in any combination, and counts them exactly."""

from __future__ import annotations

import random
from typing import Any

import pytest

from schema.engine.query import access_paths
from tests.conftest import new_plan_cache
from tests.fixtures.clients import ApiError, Row, camel
from tests.fixtures.people import (
    NAMES,
    PEOPLE,
    USER,
    in_default_order,
    in_order,
    insert_records,
    lower,
    sort_parameters,
)

pytestmark = pytest.mark.usefixtures("populated_database")

OPERATORS = [(field.name, operator) for field in USER.filterable_fields for operator in field.operators]


def holds(row, field, operator, value):
    """Whether a row meets a comparison; null meets none but `isnull`."""
    actual = row[field]
    if operator == "isnull":
        return (actual is None) == value
    if actual is None:
        return False
    if field == "email":
        actual, value = lower(actual), [lower(item) for item in value] if operator == "in" else lower(value)
    match operator:
        case "eq":
            return actual == value
        case "in":
            return actual in value
        case "lt":
            return actual < value
        case "lte":
            return actual <= value
        case "gt":
            return actual > value
        case "gte":
            return actual >= value
        case "startswith":
            return lower(actual).startswith(lower(value))
        case "contains":
            return lower(value) in lower(actual)


def values_for(field, operator, chance):
    """Values that find many rows, few and none."""
    if operator == "isnull":
        return [True, False]
    present = [row[field] for row in PEOPLE if row[field] is not None]
    known: dict[str, list[Any]] = {
        "id": ["019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"],
        "integer": [-(2**31), -1, 2, 34, 149, 151, 2**31 - 1],
        "time": ["0001-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000002Z", "9999-12-31T23:59:59.999999Z"],
        "text": ["x", "İ", "i\u0307stanbul", "\U0010ffff", "\U0010ffff\U0010ffff", "\ud7ff\ud7ff"],
        "boolean": [],
    }
    near = known[USER.fields[field].kind]
    if operator == "in":
        pool = [True, False] if field == "active" else [*present, *near]
        return [chance.sample(pool, min(size, len(pool))) for size in (1, 2, 10)]
    if operator == "startswith":
        prefixes = [name[:size] for name in (*present, *NAMES) for size in (1, 2, 3)]
        turned = [text.swapcase() for text in prefixes if "," not in text]
        return [text for text in chance.sample([*prefixes, *turned], 40) if text]
    if operator == "contains":
        parts = [text[at : at + 3] for text in (*present, *NAMES) for at in range(len(text) - 2)]
        return [*chance.sample(sorted({*parts, *(part.swapcase() for part in parts if "," not in part)}), 20), "zzz"]
    return [*chance.sample(present, min(12, len(present))), *near]


@pytest.mark.parametrize("field, operator", OPERATORS)
def test_each_operator_finds_its_rows(client, field, operator):
    for value in values_for(field, operator, random.Random(f"{field} {operator}")):
        rows = [row for row in PEOPLE if holds(row, field, operator, value)]
        expected = [row["id"] for row in in_default_order(rows, [(field, operator, value)])]

        page = client.find(
            "user", size=100, count="exact", **{f"{field}__{operator}" if operator != "eq" else field: value}
        )

        assert (page.ids, page.total) == (expected, len(expected)), value


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.slow
def test_several_filters_are_joined_by_and(client, seed):
    chance = random.Random(seed)

    for _ in range(10):
        comparisons = dict(some_comparisons(chance, chance.randint(2, 4)))
        sort = chance.choice(["id", "-id", "age", "-last_name", "last_name,first_name", "-created_at", "email"])
        rows = [
            row
            for row in in_order(PEOPLE, sort)
            if all(holds(row, field, word, value) for (field, word), value in comparisons.items())
        ]
        named = {
            f"{field}__{operator}" if operator != "eq" else field: value
            for (field, operator), value in comparisons.items()
        }

        page = client.find("user", size=100, sort=sort, count="exact", **named)

        assert (page.items, page.total) == (rows, len(rows)), named


PATHS: dict[str, dict[str, int]] = {
    "few candidates, sorted": {},
    "many, met on the scan": {"FEW_ROWS": 0, "SCAN_ROWS": 200},
    "many, sorted beyond the scan": {"FEW_ROWS": 1, "SORTABLE_FACTOR": 1000, "SCAN_ROWS": 1},
    "many, and the scan goes on": {"FEW_ROWS": 0, "SCAN_ROWS": 1},
}
PLANS = {
    (access_path, database_type): new_plan_cache(database_type)
    for access_path in PATHS
    for database_type in ("sqlite", "postgres")
}


@pytest.fixture(params=PATHS)
def access_path(request, monkeypatch, populated_database, http_client, database_type):
    """Each access path to a page of a filtered list; otherwise only large databases take them all."""
    for name, value in PATHS[request.param].items():
        monkeypatch.setattr(access_paths, name, value)
    http_client.app.state.directory.plans = PLANS[request.param, database_type]


@pytest.mark.usefixtures("access_path")
@pytest.mark.parametrize("sort", sort_parameters())
@pytest.mark.slow
def test_every_access_path_gives_the_same_pages(rest, sort):
    chance = random.Random(sort)

    for number in range(12):
        comparisons = dict(some_comparisons(chance, 1 + number % 2))
        expected = [row["id"] for row in in_order(PEOPLE, sort) if all_hold(row, comparisons)]

        check_pages(
            rest,
            expected,
            {f"{field}__{word}" if word != "eq" else field: value for (field, word), value in comparisons.items()},
            sort,
        )


def check_pages(client, expected, comparisons, sort, size=5):
    """The pages are those of the expected list, and each leads back to the page before it."""
    page, seen = client.find("user", size=size, sort=sort, **comparisons), list[str]()
    assert page.previous is None
    while True:
        before, seen = seen, [*seen, *page.ids]
        if page.next is None:
            break
        page = client.find("user", size=size, sort=sort, after=page.next, **comparisons)
        back = client.find("user", size=size, sort=sort, before=page.previous, **comparisons)
        assert back.ids == [*before, *seen[len(before) :]][-size:], comparisons
        assert back.next is not None
    assert seen == expected, comparisons


SPELLED = [
    "istanbul", "i\u0307stanbul", "\u0130STANBUL", "ISTANBUL", "Istanbul", "iS", "K\u00e5re", "\u212a\u212bre", "kARE",
    "\u01c5ep", "\u01c4EP", "\u01c6ep", "stra\u00dfe", "STRA\u1e9eE", "\u03c3\u03af\u03c3", "\u03a3\u03af\u03c2",
    "\U00010400x", "\U00010428X", "\U0010ffffa", "\ud7ffb", "McAda", "MCADA", "mcada", "Mc", "mC", "%_a",
    "a'b\"c", "a\\b",
]  # fmt: skip


@pytest.mark.parametrize("sort", ["first_name", "-first_name", "last_name,first_name", "-last_name,-first_name"])
@pytest.mark.slow
def test_startswith_merges_the_spellings_in_order(rest, database, sort):
    crowd = [
        {
            **PEOPLE[0],
            "id": f"{number * 7919 % 9973:08x}-2222-7222-8222-222222222222",
            "first_name": name,
            "last_name": name if number % 3 else f"{name} {number}",
            "email": None,
            "external_id": None,
        }
        for number, name in enumerate(4 * SPELLED)
    ]
    insert_records(database, crowd)
    field = sort.lstrip("-").partition(",")[0]

    for prefix in sorted({name[:length] for name in SPELLED for length in (1, 2, 4)}):
        rows = [row for row in in_order([*PEOPLE, *crowd], sort) if holds(row, field, "startswith", prefix)]

        check_pages(rest, [row["id"] for row in rows], {f"{field}__startswith": prefix}, sort, size=4)


def all_hold(row, comparisons):
    return all(holds(row, field, operator, value) for (field, operator), value in comparisons.items())


def some_comparisons(chance, count):
    for field, operator in chance.sample(OPERATORS, count):
        value = chance.choice(values_for(field, operator, chance))
        if not (isinstance(value, str) and "," in value):
            yield (field, operator), value


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.slow
def test_and_or_and_not_nest_to_any_depth(graphql, seed):
    chance = random.Random(seed)
    query = "query($filter: UserFilter) { users(filter: $filter, first: 100) { totalCount nodes { id } } }"

    for _ in range(10):
        where = some_filter(chance, 4)
        rows = [row for row in PEOPLE if fits(row, where)]
        expected = [row["id"] for row in in_default_order(rows, required(where))]

        users = graphql.execute(query, filter=where)["users"]

        assert [node["id"] for node in users["nodes"]] == expected, where
        assert users["totalCount"] == len(expected), where


def some_filter(chance, depth):
    """A random filter with comparisons and nested filters."""
    where: Row = {}
    for (field, operator), value in some_comparisons(chance, chance.randint(0, 2)):
        where.setdefault(camel(field), {})[operator] = value
    if depth and chance.random() < 0.8:
        word = chance.choice(["and", "or", "not", "not"])
        where[word] = some_filter(chance, depth - 1)
        if word != "not":
            where[word] = [where[word], *(some_filter(chance, depth - 1) for _ in range(chance.randint(0, 2)))]
    return where


def required(where):
    """The comparisons that every row has to meet."""
    for name, value in where.items():
        if name == "and":
            for part in value if isinstance(value, list) else [value]:
                yield from required(part)
        elif name not in ("or", "not"):
            field = next(field.name for field in USER.filterable_fields if camel(field.name) == name)
            yield from ((field, operator, operand) for operator, operand in value.items())


def fits(row, where):
    """Whether a row meets a whole filter."""
    for name, value in where.items():
        match name:
            case "and":
                fine = all(fits(row, part) for part in value)
            case "or":
                fine = any(fits(row, part) for part in value)
            case "not":
                fine = not fits(row, value)
            case _:
                field = next(field.name for field in USER.filterable_fields if camel(field.name) == name)
                fine = all(holds(row, field, operator, operand) for operator, operand in value.items())
        if not fine:
            return False
    return True


@pytest.mark.parametrize("field", [field.name for field in USER.filterable_fields if field.nullable])
@pytest.mark.parametrize("operator", ["eq", "in", "startswith"])
def test_not_includes_nulls(graphql, field, operator):
    value = next(row[field] for row in PEOPLE if row[field])
    where = {"not": {camel(field): {operator: [value] if operator == "in" else value}}}
    query = "query($filter: UserFilter) { users(filter: $filter, first: 100) { nodes { id } } }"

    ids = [node["id"] for node in graphql.execute(query, filter=where)["users"]["nodes"]]

    assert ids == sorted(row["id"] for row in PEOPLE if fits(row, where))
    assert any(row[field] is None and row["id"] in ids for row in PEOPLE)


@pytest.mark.parametrize(
    "where, expected",
    [
        ({}, len(PEOPLE)),
        ({"and": []}, len(PEOPLE)),
        ({"or": []}, 0),
        ({"not": {}}, 0),
        ({"not": {"or": []}}, len(PEOPLE)),
        ({"age": {}}, len(PEOPLE)),
        ({"age": {"in": []}}, 0),
        ({"or": [{}, {"age": {"in": []}}]}, len(PEOPLE)),
    ],
    ids=str,
)
def test_an_empty_filter_follows_logic(graphql, where, expected):
    query = "query($filter: UserFilter) { users(filter: $filter) { totalCount } }"

    assert graphql.execute(query, filter=where)["users"]["totalCount"] == expected


@pytest.mark.parametrize(
    "where", [{"age": None}, {"age": {"eq": None}}, {"not": None}, {"or": [{"email": {"eq": None}}]}], ids=str
)
def test_null_is_no_filter_value(graphql, where):
    query = "query($filter: UserFilter) { users(filter: $filter) { totalCount } }"

    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        graphql.execute(query, filter=where)


def test_a_null_filter_is_no_filter(graphql):
    data = graphql.execute("query($filter: UserFilter) { users(filter: $filter) { totalCount } }", filter=None)

    assert data["users"]["totalCount"] == len(PEOPLE)


@pytest.mark.parametrize("word", ["and", "or", "not"])
def test_filters_can_be_nested_ten_levels_deep(graphql, word):
    query = "query($filter: UserFilter) { users(filter: $filter) { totalCount } }"
    where: Row = {"age": {"gte": 0}}
    for _ in range(9):
        where = {word: where if word == "not" else [where]}

    assert graphql.execute(query, filter=where)["users"]["totalCount"] == (0 if word == "not" else len(PEOPLE))
    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        graphql.execute(query, filter={word: {word: where}} if word == "not" else {word: [{word: [where]}]})


@pytest.mark.parametrize(
    "spelling",
    [
        "2026-01-02T00:00:00.000001Z",
        "2026-01-02T00:00:00.000001z",
        "2026-01-02t00:00:00.000001Z",
        "2026-01-02T00:00:00.0000010Z",
        "2026-01-02T01:00:00.000001+01:00",
        "2026-01-01T19:30:00.000001-04:30",
        "2026-01-02T00:00:00.000001-00:00",
    ],
)
def test_a_time_may_have_any_offset(client, spelling):
    expected = sorted(row["id"] for row in PEOPLE if row["created_at"] == "2026-01-02T00:00:00.000001Z")

    assert expected
    assert client.find("user", size=100, created_at=spelling).ids == expected


@pytest.mark.parametrize("query", ["age__in=35,37", "age__in=35&age__in=37", "age__in=35,37&age__in=35"])
def test_a_list_parameter_takes_commas_and_repetition(rest, query):
    page = rest.send("GET", f"/users?limit=100&{query}").json()

    assert [row["id"] for row in page["items"]] == sorted(row["id"] for row in PEOPLE if row["age"] in (35, 37))


@pytest.mark.parametrize(
    "query, parameter",
    [
        ("nickname=x", "nickname"),
        ("age__startswith=3", "age__startswith"),
        ("active__gt=true", "active__gt"),
        ("active__isnull=true", "active__isnull"),
        ("version=1", "version"),
        ("age__eq=36", "age__eq"),
        ("first_name__contains=ad", "first_name__contains"),
        ("age__contains=123", "age__contains"),
        ("external_id__contains=123", "external_id__contains"),
        ("q=", "q"),
        ("q=ad", "q"),
        ("q=a b cd", "q"),
        ("q=%C2%A0%C2%A0%C2%A0%C2%A0", "q"),
        (f"q={'a' * 101}", "q"),
        ("q=ada%00", "q"),
        ("q=ada%0A", "q"),
        ("age=36.0", "age"),
        ("age=+36", "age"),
        ("age=036", "age"),
        ("age=٣٦", "age"),
        ("age=", "age"),
        ("age__in=", "age__in"),
        ("age__in=1,,2", "age__in"),
        ("active=1", "active"),
        ("active=True", "active"),
        ("count=all", "count"),
        ("limit=0", "limit"),
        ("limit=10.0", "limit"),
        ("sort=", "sort"),
        ("fields=id", "fields"),
        ("page=2", "page"),
        ("offset=20", "offset"),
        ("after=", "after"),
    ],
)
def test_an_invalid_parameter_is_named(rest, query, parameter):
    with pytest.raises(ApiError, match="VALIDATION_FAILED") as refused:
        rest.send("GET", f"/users?{query}")

    assert [field_error["parameter"] for field_error in refused.value.field_errors] == [parameter]


@pytest.mark.parametrize("name", ["age", "limit", "sort", "after", "first_name__startswith"])
def test_a_repeated_single_parameter_is_refused(rest, name):
    value = {"age": 1, "limit": 1, "sort": "age"}.get(name, "x")

    with pytest.raises(ApiError, match="BAD_REQUEST") as refused:
        rest.send("GET", f"/users?{name}={value}&{name}={value}")

    assert refused.value.names == {name.partition("__")[0]}


def test_an_unknown_parameter_lists_the_valid_ones(rest):
    with pytest.raises(ApiError) as refused:
        rest.send("GET", "/users?ages=36")

    assert "age__gte" in refused.value.detail
    assert "startswith" in refused.value.detail
