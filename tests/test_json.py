"""JSON that is none, or that means two things, is refused with a sentence; JSON in any right spelling is read.

None of it brings the service down, however deep or long it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.settings import read
from schema.engine.errors import BadRequest
from schema.engine.jsontext import strict
from schema.migrations.run import migrate
from tests.in_process import in_process_app

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = tmp_path_factory.mktemp("json") / "tandem.db"
    migrate(str(path))
    app = in_process_app(read({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"}))
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
def test_json_that_cannot_be_read_is_refused_with_a_reason(client, path, body):
    answer = client.post(path, content=body, headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert answer.json()["detail"].startswith(("the body is ", "the key "))


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
def test_json_in_any_right_spelling_is_read(client, body):
    assert client.post("/users", content=body, headers=JSON).status_code == 201


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
def test_a_key_twice_is_found_however_the_body_is_written(body):
    with pytest.raises(BadRequest):
        strict(body)


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "9" * 40, "1.0", "1e3"])
def test_a_number_is_what_was_sent_to_the_last_digit(number):
    assert strict(f'{{"n":[{number}]}}'.encode()) == {"n": [json.loads(number)]}
