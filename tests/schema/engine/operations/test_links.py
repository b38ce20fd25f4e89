"""People and groups are linked from one side and listed from both; linking and unlinking are idempotent."""

from __future__ import annotations

import pytest

from tests.fixtures.clients import ApiError
from tests.fixtures.people import in_order

UNKNOWN = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"


@pytest.fixture
def ada(client):
    return client.create("user", first_name="Ada", age=36)


@pytest.fixture
def engine(client):
    return client.create("group", name="Engine")


def members(client, group):
    return {row["id"]: row["link_role"] for row in client.find("group", ("members", group["id"])).items}


def test_a_link_is_seen_from_both_ends(client, ada, engine):
    client.link("group", engine["id"], "members", ada["id"], role="owner")

    (member,) = client.find("group", ("members", engine["id"])).items
    (group,) = client.find("user", ("groups", ada["id"])).items

    since = member["link_created_at"]
    assert member == {**ada, "link_role": "owner", "link_created_at": since}
    assert group == {**engine, "link_role": "owner", "link_created_at": since}
    assert since > ada["created_at"]


def test_a_new_member_has_the_role_member(client, ada, engine):
    client.link("group", engine["id"], "members", ada["id"])

    assert members(client, engine) == {ada["id"]: "member"}


def test_adding_a_member_again_keeps_their_role(client, ada, engine):
    client.link("group", engine["id"], "members", ada["id"], role="owner")
    before = client.find("group", ("members", engine["id"])).items

    client.link("group", engine["id"], "members", ada["id"])

    assert client.find("group", ("members", engine["id"])).items == before


def test_changing_a_role_changes_nothing_else(client, ada, engine):
    client.link("group", engine["id"], "members", ada["id"], role="owner")
    (before,) = client.find("group", ("members", engine["id"])).items

    client.link("group", engine["id"], "members", ada["id"], role="member")

    assert client.find("group", ("members", engine["id"])).items == [{**before, "link_role": "member"}]


def test_linking_changes_no_version(client, ada, engine):
    client.link("group", engine["id"], "members", ada["id"])
    client.link("group", engine["id"], "members", ada["id"], role="owner")
    client.unlink("group", engine["id"], "members", ada["id"])

    assert client.get("user", ada["id"]) == ada
    assert client.get("group", engine["id"]) == engine


def test_unlinking_is_idempotent(client, ada, engine):
    client.link("group", engine["id"], "members", ada["id"])

    client.unlink("group", engine["id"], "members", ada["id"])
    client.unlink("group", engine["id"], "members", ada["id"])

    assert members(client, engine) == {}
    assert client.find("user", ("groups", ada["id"])).items == []


@pytest.mark.parametrize("missing", ["group", "user"])
@pytest.mark.parametrize("operation", ["link", "unlink"])
def test_both_linked_records_must_exist(client, ada, engine, operation, missing):
    group, user = (UNKNOWN if missing == "group" else engine["id"]), (UNKNOWN if missing == "user" else ada["id"])

    with pytest.raises(ApiError, match="NOT_FOUND") as refused:
        getattr(client, operation)("group", group, "members", user)

    assert f"no {missing} {UNKNOWN}" in refused.value.detail


@pytest.mark.parametrize("role", ["boss", "", None, 1, "OWNERS"])
def test_an_unknown_role_is_refused(client, ada, engine, role):
    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        client.link("group", engine["id"], "members", ada["id"], role=role)

    assert members(client, engine) == {}


@pytest.mark.parametrize("kind", ["user", "group"])
def test_deleting_a_record_deletes_its_links(client, ada, engine, kind):
    client.link("group", engine["id"], "members", ada["id"])

    client.delete(kind, (ada if kind == "user" else engine)["id"])

    if kind == "user":
        assert members(client, engine) == {}
    else:
        assert client.find("user", ("groups", ada["id"])).items == []


def test_each_record_has_its_own_related_list(client):
    people = [client.create("user", first_name=f"P{number}", age=number) for number in range(6)]
    groups = [client.create("group", name=f"G{number}") for number in range(3)]
    belonging = {0: [0, 1, 2], 1: [2, 3], 2: []}
    for group, numbers in belonging.items():
        for number in numbers:
            client.link("group", groups[group]["id"], "members", people[number]["id"])

    for group, numbers in belonging.items():
        assert list(members(client, groups[group])) == [people[number]["id"] for number in numbers]
    assert client.find("user", ("groups", people[2]["id"])).ids == [groups[0]["id"], groups[1]["id"]]
    assert client.find("user", ("groups", people[5]["id"])).ids == []


@pytest.fixture
def crew(client, engine):
    """Twelve members, by name, joined in no order of theirs."""
    created = [
        client.create("user", first_name=f"P{number % 4}", age=number, active=number % 3 > 0) for number in range(12)
    ]
    for number in (7, 3, 11, 0, 5, 1, 9, 2, 10, 4, 8, 6):
        client.link("group", engine["id"], "members", created[number]["id"])
    return created


@pytest.mark.parametrize(
    "sort", ["", "id", "-id", "age", "-age", "first_name", "-first_name", "-last_name,-first_name"]
)
def test_a_related_list_is_paged_in_any_order(client, engine, crew, sort):
    expected = in_order(crew, sort or "id")
    parameters = {"sort": sort} if sort else {}

    page = client.find("group", ("members", engine["id"]), size=5, count="exact", **parameters)
    following = client.find("group", ("members", engine["id"]), size=5, after=page.next, **parameters)
    last = client.find("group", ("members", engine["id"]), size=5, after=following.next, **parameters)
    back = client.find("group", ("members", engine["id"]), size=5, before=last.previous, **parameters)

    assert page.ids + following.ids + last.ids == [row["id"] for row in expected]
    assert (page.previous, last.next, page.total) == (None, None, 12)
    assert back.ids == following.ids


@pytest.mark.parametrize(
    "parameters, matches",
    [
        ({"age__gte": 6}, lambda row: row["age"] >= 6),
        ({"active": True, "age__lt": 6}, lambda row: row["active"] and row["age"] < 6),
        ({"first_name__startswith": "p1"}, lambda row: row["first_name"] == "P1"),
        ({"email__isnull": False}, lambda row: False),
    ],
    ids=lambda value: None if callable(value) else ascii(value),
)
def test_a_related_list_is_filtered_and_counted(client, engine, crew, parameters, matches):
    client.create("user", first_name="P1", age=6)
    expected = [row["id"] for row in crew if matches(row)]

    page = client.find("group", ("members", engine["id"]), size=100, count="exact", **parameters)

    assert (page.ids, page.total) == (expected, len(expected))


def test_one_membership_can_be_read(rest):
    ada, bob = (rest.create("user", first_name=name, age=36) for name in ("Ada", "Bob"))
    engine = rest.create("group", name="Engine")
    rest.link("group", engine["id"], "members", ada["id"], role="owner")
    path = f"/groups/{engine['id']}/members"

    records = rest.send("GET", f"{path}/{ada['id'].upper()}").json()

    assert records == rest.send("GET", path).json()["items"][0]
    assert (records["user"], records["role"]) == (ada, "owner")
    for id in (bob["id"], UNKNOWN, "x"):
        with pytest.raises(ApiError, match="NOT_FOUND"):
            rest.send("GET", f"{path}/{id}")


def test_mutations_of_a_link_return_it(graphql):
    ada, engine = graphql.create("user", first_name="Ada", age=36), graphql.create("group", name="Engine")
    words = "group { name members { totalCount } } user { firstName groups { edges { role node { name } } } } role"
    ids = f'groupId: "{engine["id"]}", userId: "{ada["id"]}"'
    shown = {
        "group": {"name": "Engine", "members": {"totalCount": 1}},
        "user": {"firstName": "Ada", "groups": {"edges": [{"role": "MEMBER", "node": {"name": "Engine"}}]}},
        "role": "MEMBER",
    }

    added = graphql.execute(f"mutation {{ addGroupMember(input: {{{ids}}}) {{ {words} }} }}")
    again = graphql.execute(f"mutation {{ addGroupMember(input: {{{ids}}}) {{ {words} }} }}")
    changed = graphql.execute(f"mutation {{ setGroupMemberRole(input: {{{ids}, role: OWNER}}) {{ role }} }}")
    removed = graphql.execute(f"mutation {{ removeGroupMember(input: {{{ids}}}) {{ role user {{ id }} }} }}")
    none = graphql.execute(f"mutation {{ removeGroupMember(input: {{{ids}}}) {{ role user {{ id }} }} }}")

    assert added["addGroupMember"] == again["addGroupMember"] == shown
    assert changed["setGroupMemberRole"] == {"role": "OWNER"}
    assert removed["removeGroupMember"] == {"role": "OWNER", "user": {"id": ada["id"]}}
    assert none["removeGroupMember"] == {"role": None, "user": {"id": ada["id"]}}
    with pytest.raises(ApiError, match="NOT_FOUND"):
        graphql.execute(f"mutation {{ setGroupMemberRole(input: {{{ids}, role: OWNER}}) {{ role }} }}")


@pytest.mark.slow
def test_nested_lists_have_limits_filters_and_counts_per_parent(graphql):
    people = [graphql.create("user", first_name=f"P{number}", age=number) for number in range(8)]
    groups = [graphql.create("group", name=f"G{number}") for number in range(3)]
    for number, person in enumerate(people):
        for group in groups[: 1 + number % 3]:
            graphql.link("group", group["id"], "members", person["id"])
    query = """{ groups { nodes { name
        members(first: 2, filter: {age: {gte: 2}}) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node {
            age groups(last: 1) { nodes { name } pageInfo { hasPreviousPage } } } } } } } }"""

    records = graphql.execute(query)["groups"]["nodes"]

    for number, group in enumerate(records):
        inside = [age for age in range(2, 8) if age % 3 >= number]
        edges = group["members"]["edges"]
        assert [edge["node"]["age"] for edge in edges] == inside[:2]
        assert group["members"]["totalCount"] == len(inside)
        assert group["members"]["pageInfo"] == {"hasNextPage": len(inside) > 2, "endCursor": edges[-1]["cursor"]}
        for edge in edges:
            several = edge["node"]["age"] % 3
            assert edge["node"]["groups"] == {
                "nodes": [{"name": f"G{several}"}],
                "pageInfo": {"hasPreviousPage": several > 0},
            }


def test_a_nested_list_continues_from_its_cursor(graphql):
    group = graphql.create("group", name="Engine")
    people = [graphql.create("user", first_name=f"P{number}", age=number) for number in range(5)]
    for person in people:
        graphql.link("group", group["id"], "members", person["id"])
    query = """query($after: String) {
        groups { nodes { members(first: 2, after: $after) { nodes { age } pageInfo { endCursor } } } } }"""

    seen, cursor = [], None
    for _ in range(3):
        (node,) = graphql.execute(query, after=cursor)["groups"]["nodes"]
        seen += [member["age"] for member in node["members"]["nodes"]]
        cursor = node["members"]["pageInfo"]["endCursor"]

    assert seen == [0, 1, 2, 3, 4]


def test_a_nested_list_below_several_parents_keeps_its_own_order(graphql):
    query = "{ groups { nodes { members(sort: [{field: AGE}]) { nodes { id } } } } }"

    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        graphql.execute(query)


def test_a_list_below_a_single_record_can_be_sorted_at_any_depth(graphql):
    group = graphql.create("group", name="Engine")
    query = (
        f'{{ group(id: "{group["id"]}") {{ members(sort: [{{field: AGE, direction: DESC}}]) {{ nodes {{ age }} }} }} }}'
    )
    for age in (1, 3, 2):
        user = graphql.create("user", first_name="P", age=age)
        graphql.link("group", group["id"], "members", user["id"])

    assert graphql.execute(query)["group"]["members"]["nodes"] == [{"age": 3}, {"age": 2}, {"age": 1}]
