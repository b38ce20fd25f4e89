"""A verb's parameters are as strict as the fields they are called after, and as every other text and number."""

# Annotations are types here, not their names, as they are where models are declared.
import json

import pytest

from api.rest.json_schemas import action_schema
from schema.engine.errors import ValidationFailed
from schema.engine.model import input_models
from schema.engine.model.action import action
from schema.engine.model.policy import everybody
from schema.engine.model.resource import resource_of
from schema.models import User

MADE = resource_of(User)


def rename(self, first_name: str, last_name: str | None = None, age: int = 1, why: str = "-", times: int = 1) -> None:
    """Call somebody otherwise."""
    self.first_name, self.last_name, self.age = first_name, last_name, age


ACTION = action(everybody)(rename)


@pytest.mark.parametrize(
    "given",
    [
        {"first_name": "x" * 100},
        {"first_name": "x", "last_name": None},
        {"first_name": "x", "age": 150},
        {"first_name": "x", "age": 3.0},
        {"first_name": "x", "why": "y" * 1000, "times": -(2**31)},
    ],
)
def test_valid_arguments_are_accepted(given):
    face = input_models.action_input(MADE, ACTION)

    assert face.read(given) == face.read_json(json.dumps(given).encode()) == given


@pytest.mark.parametrize(
    "given, blamed",
    [
        ({"first_name": "x" * 101}, "first_name"),
        ({"first_name": ""}, "first_name"),
        ({"first_name": "a\x00"}, "first_name"),
        ({"first_name": None}, "first_name"),
        ({}, "first_name"),
        ({"first_name": "x", "last_name": " "}, "last_name"),
        ({"first_name": "x", "age": 151}, "age"),
        ({"first_name": "x", "age": 3.5}, "age"),
        ({"first_name": "x", "age": True}, "age"),
        ({"first_name": "x", "why": "y" * 1001}, "why"),
        ({"first_name": "x", "times": 2**31}, "times"),
        ({"first_name": "x", "other": 1}, "other"),
    ],
)
def test_invalid_arguments_are_refused(given, blamed):
    face = input_models.action_input(MADE, ACTION)

    for read in (lambda: face.read(given), lambda: face.read_json(json.dumps(given).encode())):
        with pytest.raises(ValidationFailed) as refused:
            read()
        assert [field_error.path for field_error in refused.value.field_errors] == [(blamed,)]


def test_the_openapi_document_has_the_bounds_of_arguments():
    schema = action_schema(MADE, ACTION)
    members = schema["properties"]

    assert (schema["required"], schema["additionalProperties"]) == (["first_name"], False)
    assert (members["first_name"]["maxLength"], members["first_name"]["examples"]) == (100, ["Ada"])
    assert (members["age"]["maximum"], members["age"]["format"]) == (150, "int32")
    assert members["age"]["description"] == MADE.fields["age"].description
    assert members["why"]["maxLength"] == 1000
