"""JSON that is none, or that means two things, is refused with a sentence; JSON in any right spelling is read.

None of it brings the service down, however deep or long it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.settings import read_settings
from schema.engine.errors import BadRequest
from schema.engine.model.strict_json import parse_json
from schema.migrations.commands import migrate
from tests.fixtures.in_process import in_process_app

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def http_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = tmp_path_factory.mktemp("json") / "tandem.db"
    migrate(str(path))
    app = in_process_app(read_settings({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"}))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as opened:
        yield opened


UNREADABLE = {
    "nothing": b"",
    "half": b'{"first_name": "Ada", "age": 36',
    "a comma too many": b'{"first_name": "Ada", "age": 36,}',
    "two": b'{"first_name": "Ada", "age": 36} {}',
    "single quotes": b"{'first_name': 'Ada', 'age': 36}",
    "a comment": b'{"first_name": "Ada", /* old */ "age": 36}',
    "no UTF-8": b'{"first_name": "Ad\xe0", "age": 36}',
    "cut UTF-8": b'{"first_name": "Ad\xc3", "age": 36}',
    "UTF-16": '{"first_name": "Ada", "age": 36}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"first_name": "Ada", "age": 36}',
    "a surrogate in UTF-8": b'{"first_name": "\xed\xa0\x80", "age": 36}',
    "a lone surrogate": b'{"first_name": "\\ud800", "age": 36}',
    "surrogates the wrong way round": b'{"first_name": "\\udc00\\ud800", "age": 36}',
    "a lone surrogate as key": b'{"first_name": "Ada", "age": 36, "\\udfff": 1}',
    "a raw line break": b'{"first_name": "A\nda", "age": 36}',
    "NaN": b'{"first_name": "Ada", "age": NaN}',
    "Infinity": b'{"first_name": "Ada", "age": Infinity}',
    "-Infinity": b'{"first_name": "Ada", "age": -Infinity}',
    "more than a double": b'{"first_name": "Ada", "age": 1e400}',
    "hexadecimal": b'{"first_name": "Ada", "age": 0x24}',
    "a leading zero": b'{"first_name": "Ada", "age": 036}',
    "a plus": b'{"first_name": "Ada", "age": +36}',
    "5,000 digits": b'{"first_name": "Ada", "age": ' + b"9" * 5000 + b"}",
    "a key twice": b'{"first_name": "Ada", "age": 36, "age": 37}',
    "a key twice, spelled otherwise": b'{"first_name": "Ada", "age": 36, "\\u0061ge": 37}',
    "an unknown key twice": b'{"first_name": "Ada", "age": 36, "x": 1, "x": 1}',
    "a key twice further in": b'{"first_name": "Ada", "age": {"x": 1, "x": 1}}',
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "100,000 levels, open": b"[" * 100_000,
    "40,000 levels of objects": b'{"a":' * 40_000,
    "200,000 digits": b'{"age": ' + b"9" * 200_000 + b"}",
    "33 levels in a field": b'{"first_name": ' + b"[" * 33 + b"]" * 33 + b"}",
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.parametrize("path", ["/users", "/greetings"])
def test_invalid_json_is_refused_with_a_reason(http_client, path, body):
    response = http_client.post(path, content=body, headers=JSON)

    assert (response.status_code, response.json()["code"]) == (400, "BAD_REQUEST")
    assert response.json()["detail"].startswith(
        ("the body is ", "the body must be nested at most 32 levels deep", "the key ")
    )


READABLE = {
    "spaces": b' \t\r\n{ "first_name" : "Ada" , "age" : 36 } \n',
    "escapes": b'{"first_name": "\\u0041da", "\\u0061ge": 36}',
    "a pair of surrogates": b'{"first_name": "\\ud83d\\udc69", "age": 36}',
    "a colon in a text": b'{"first_name": "a:b{[", "age": 36}',
    "a whole number as a fraction": b'{"first_name": "Ada", "age": 36.0}',
    "a whole number with an exponent": b'{"first_name": "Ada", "age": 3.6e1}',
    "minus nought": b'{"first_name": "Ada", "age": -0}',
}


@pytest.mark.parametrize("body", READABLE.values(), ids=READABLE.keys())
def test_every_valid_spelling_of_json_is_read(http_client, body):
    assert http_client.post("/users", content=body, headers=JSON).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a" :1,"a" :2}',
        b'{"x" :1,"y":1,"y":2}',
        b'{"x"\n:1,"y":1,"y":2}',
        b'{"x\\\\":1,"y":1,"y":2}',
        b'{"x\\":":1,"y":1,"y":2}',
        b'{"x":"\\":","y":1,"y":2}',
        b'{"z":[{"y":1,"y":2}]}',
        b'{"z":1.5,"y":1,"y":2}',
    ],
)
def test_a_repeated_key_is_refused_in_every_spelling(body):
    with pytest.raises(BadRequest):
        parse_json(body)


MANY = {
    "2,500 members": b'{"x": [' + b"1," * 2498 + b"1]}",
    "a list of 2,500": b"[" + b"1," * 2499 + b"1]",
    "empty lists": b"[" + b"[]," * 2499 + b"[]]",
    "objects": b'{"x": [' + b'{"a": 1},' * 1249 + b"{}]}",
    "members": b"{" + b",".join(b'"%d": 1' % n for n in range(2500)) + b"}",
    "texts": b"[" + b",".join([b'","'] * 2500) + b"]",
    "many texts": b"[" + b",".join([b'"\\""'] * 5001) + b"]",
    "lists of lists": b"[" + b",".join([b"[[[1]]]"] * 800) + b"]",
    "40,000": b"[" + b"[]," * 40_000 + b"[]]",
}


@pytest.mark.parametrize("body", MANY.values(), ids=MANY.keys())
@pytest.mark.parametrize("path", ["/users", "/greetings", "/graphql"])
def test_json_of_more_than_2500_values_is_refused_before_it_is_validated(http_client, path, body):
    response = http_client.post(path, content=body, headers=JSON)

    problem = response.json() if path != "/graphql" else response.json()["errors"][0]["extensions"]
    assert (response.status_code, problem["code"]) == (400, "QUERY_TOO_COMPLEX")
    assert "the body must have at most 2500 values" in response.text


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * 2498 + b"1]",
        b"[" + b"[]," * 2498 + b"[]]",
        b'{"x": [' + b'{"a": 1},' * 1248 + b"{}]}",
        json.dumps([[], {}, '],}[{,\\"' * 5000, [[{"a,": '",'}]]]).encode(),
        json.dumps(["\\", '"', ","] * 800).encode(),
        b"[" * 32 + b"]" * 32,
        b"[" + b",".join([b"[" * 31 + b"]" * 31] * 80) + b"]",
    ],
)
def test_json_at_the_limits_is_read(body):
    assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize("body", [b"[" * 33 + b"]" * 33, b"[" + b",".join([b"[" * 32 + b"]" * 32] * 100) + b"]"])
def test_json_nested_too_deeply_is_refused_at_any_length(body):
    with pytest.raises(BadRequest, match="nested at most 32 levels deep"):
        parse_json(body)


@pytest.mark.parametrize("name", ["variables", "extensions"])
def test_a_query_string_has_the_same_limits(http_client, name):
    many = http_client.get(f"/graphql?query=%7B__typename%7D&{name}=[{'1,' * 2500}1]")
    deep = http_client.get("/graphql", params={"query": "{ __typename }", name: '{"a":' * 33 + "1" + "}" * 33})

    assert [response.status_code for response in (many, deep)] == [400, 400]
    assert "2500 values" in many.text
    assert "32 levels" in deep.text


def test_at_most_100_field_errors_are_returned(http_client):
    body = json.dumps({f"k{n}": 1 for n in range(2000)}).encode()

    response = http_client.post("/users", content=body, headers=JSON)

    assert response.status_code == 422
    assert len(response.json()["errors"]) == 100
    assert len(response.content) < 50_000


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "9" * 40, "1.0", "1e3"])
def test_a_number_keeps_its_last_digit(number):
    assert parse_json(f'{{"n":[{number}]}}'.encode()) == {"n": [json.loads(number)]}
