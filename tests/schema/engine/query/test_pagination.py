"""Pages join without gaps or repeats, both ways, in every order, while records are added and removed."""

from __future__ import annotations

import random

import pytest

from tests.fixtures.clients import ApiError
from tests.fixtures.people import (
    NAMES,
    PEOPLE,
    delete_users,
    in_order,
    insert_records,
    random_users,
    sort_key,
    sort_parameters,
)

every_sort = pytest.mark.parametrize("sort", sort_parameters())

pytestmark = pytest.mark.usefixtures("populated_database")


@every_sort
def test_pages_forward_are_the_list(client, sort):
    expected = [row["id"] for row in in_order(PEOPLE, sort)]

    for size in (2, 46, 47, 100):
        seen: list[str] = []
        page = client.find("user", sort=sort, size=size)
        while True:
            assert (page.previous is not None) == bool(seen)
            seen += page.ids
            if page.next is None:
                break
            assert len(page.items) == size
            page = client.find("user", sort=sort, size=size, after=page.next)

        assert seen == expected


@every_sort
def test_pages_backward_are_the_list(client, sort):
    expected = [row["id"] for row in in_order(PEOPLE, sort)]
    end = client.find("user", sort=sort, after=client.find("user", sort=sort, size=46).next)

    for size in (3, 45, 46, 100):
        page, seen = client.find("user", sort=sort, size=size, before=end.previous), end.ids
        while True:
            assert page.next is not None
            seen = page.ids + seen
            if page.previous is None:
                break
            assert len(page.items) == size
            page = client.find("user", sort=sort, size=size, before=page.previous)

        assert seen == expected


def test_a_list_has_whole_records_in_order(client):
    assert client.find("user", sort="-age", size=100).items == in_order(PEOPLE, "-age")


def test_the_default_is_twenty_records_by_id(client):
    assert client.find("user").ids == sorted(row["id"] for row in PEOPLE)[:20]


@every_sort
def test_a_cursor_keeps_its_place_while_records_change(client, database, sort):
    chance, rows = random.Random(sort), list(PEOPLE)
    fields = [name.removeprefix("-") for name in sort.split(",")]
    page = client.find("user", sort=sort, size=5)

    for number in range(8):
        here, place = page.next, sort_key(page.items[-1], fields)
        removed = [*chance.sample(page.items, 2), *chance.sample(rows, 2)]
        rows = [row for row in rows if row["id"] not in {person["id"] for person in removed}]
        added = [{**row, "id": f"{row['id'][:-4]}{number:04x}"} for row in random_users(4, seed=1000 + number)]
        for row in added:
            row["email"] = row["external_id"] = None
        _replace(database, removed, added)
        rows += added
        later = [row for row in in_order(rows, sort) if _is_later(sort_key(row, fields), place, sort)]

        page = client.find("user", sort=sort, size=5, after=here)

        assert page.items == later[:5]
        assert (page.next is not None) == (len(later) > 5)
        assert (page.previous is not None) == (len(later) < len(rows) and bool(later))
        if page.next is None:
            break


def _is_later(key, place, sort):
    return key < place if sort.startswith("-") else key > place


def _replace(database, removed, added):
    delete_users(database, removed)
    insert_records(database, added)


@every_sort
@pytest.mark.slow
def test_page_info_between_two_cursors_is_exact(graphql, sort):
    rows = [row["id"] for row in in_order(PEOPLE, sort)]
    cursors = _cursors(graphql, sort)

    for after, before in [(None, None), (9, 0), (4, 5), (4, 9), (0, 46), (None, 9), (9, None)]:
        start, stop = 0 if after is None else after + 1, len(rows) if before is None else before
        inside = rows[start:stop]
        for size in (0, 3, len(inside), 100):
            for argument in ("first", "last"):
                taken = inside[:size] if argument == "first" else inside[max(0, len(inside) - size) :]
                begin = start if argument == "first" else start + len(inside) - len(taken)
                expected = {"nodes": [{"id": id} for id in taken], **_info(begin, begin + len(taken), len(rows))}

                page = _page_between(graphql, sort, {argument: size}, cursors, after, before)

                assert page == expected, (after, before, argument, size)


def _info(begin, end, count):
    return {"pageInfo": {"hasPreviousPage": begin > 0, "hasNextPage": end < count}}


def _page_between(graphql, sort, sized, cursors, after, before):
    query = """query($sort: [UserSort!], $first: Int, $last: Int, $after: String, $before: String) {
        users(sort: $sort, first: $first, last: $last, after: $after, before: $before) {
            nodes { id } pageInfo { hasPreviousPage hasNextPage } } }"""
    places = {"after": after, "before": before}
    cursor_arguments = {name: cursors[place] for name, place in places.items() if place is not None}
    return graphql.execute(query, sort=_sort(sort), **sized, **cursor_arguments)["users"]


def _cursors(graphql, sort):
    query = "query($sort: [UserSort!]) { users(sort: $sort, first: 100) { edges { cursor } } }"
    return [edge["cursor"] for edge in graphql.execute(query, sort=_sort(sort))["users"]["edges"]]


def _sort(sort):
    direction = "DESC" if sort.startswith("-") else "ASC"
    return [{"field": name.removeprefix("-").upper(), "direction": direction} for name in sort.split(",")]


def test_rest_takes_two_cursors_at_once(rest):
    rows = [row["id"] for row in in_order(PEOPLE, "-age")]
    first = rest.find("user", sort="-age", size=10)
    second = rest.find("user", sort="-age", size=10, after=first.next)

    between = rest.find("user", sort="-age", after=first.next, before=second.next)
    fewer = rest.find("user", sort="-age", after=first.next, before=second.next, size=4)

    assert between.ids == rows[10:19]
    assert fewer.ids == rows[10:14]
    assert all((between.next, between.previous, fewer.next, fewer.previous))


def test_the_links_of_a_page_lead_to_its_neighbours(rest):
    response = rest.send("GET", "/users", params={"limit": 5, "sort": "-age", "active": "true", "count": "exact"})
    expected = [row["id"] for row in in_order(PEOPLE, "-age") if row["active"]]

    following = rest.send("GET", response.links["next"]["url"])
    back = rest.send("GET", following.links["prev"]["url"])
    again = rest.send("GET", back.links["next"]["url"])

    assert [row["id"] for row in following.json()["items"]] == expected[5:10]
    assert following.json()["total"] == len(expected)
    assert back.json()["items"] == response.json()["items"]
    assert again.json() == following.json()
    assert again.links == following.links
    assert set(response.links) == {"next"}
    assert set(following.links) == {"next", "prev"}
    assert set(back.links) == {"next"}


def test_a_filtered_list_is_paged_within_its_filter(client):
    expected = [row["id"] for row in in_order(PEOPLE, "last_name") if row["age"] == 36]

    users = client.everything("user", sort="last_name", size=2, age=36)

    assert [row["id"] for row in users] == expected


def test_first_and_last_exclude_one_another(graphql):
    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        graphql.execute("{ users(first: 1, last: 1) { nodes { id } } }")


@pytest.mark.parametrize(
    "sort", ["nickname", "active", "-age,first_name", "last_name,-first_name", "first_name,last_name"]
)
def test_an_unknown_sort_is_refused(client, sort):
    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        client.find("user", sort=sort)


def test_the_fixture_has_ties_gaps_and_difficult_names():
    ages, names = [row["age"] for row in PEOPLE], [row["last_name"] for row in PEOPLE]

    assert len(set(ages)) < len(ages) / 3
    assert names.count(None) > 3
    assert sorted(NAMES) != sorted(NAMES, key=str.lower)
    assert sorted(NAMES) != sorted(NAMES, key=lambda name: name.encode("utf-16-be"))
