"""Parameters of actions are as strict as the fields of the same name, and as any other text and number."""

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

RESOURCE = resource_of(User)


def rename(self, first_name: str, last_name: str | None = None, age: int = 1, why: str = "-", times: int = 1) -> None:
    """Change a person's name."""
    self.first_name, self.last_name, self.age = first_name, last_name, age


ACTION = action(everybody)(rename)


@pytest.mark.parametrize(
    "arguments",
    [
        {"first_name": "x" * 100},
        {"first_name": "x", "last_name": None},
        {"first_name": "x", "age": 150},
        {"first_name": "x", "age": 3.0},
        {"first_name": "x", "why": "y" * 1000, "times": -(2**31)},
    ],
)
def test_valid_arguments_are_accepted(arguments):
    input_model = input_models.action_input(RESOURCE, ACTION)

    assert input_model.read(arguments) == input_model.read_json(json.dumps(arguments).encode()) == arguments


@pytest.mark.parametrize(
    "arguments, error_fields",
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
def test_invalid_arguments_are_refused(arguments, error_fields):
    input_model = input_models.action_input(RESOURCE, ACTION)

    for read in (lambda: input_model.read(arguments), lambda: input_model.read_json(json.dumps(arguments).encode())):
        with pytest.raises(ValidationFailed) as refused:
            read()
        assert [field_error.path for field_error in refused.value.field_errors] == [(error_fields,)]


def test_the_openapi_document_has_the_bounds_of_arguments():
    schema = action_schema(RESOURCE, ACTION)
    members = schema["properties"]

    assert (schema["required"], schema["additionalProperties"]) == (["first_name"], False)
    assert (members["first_name"]["maxLength"], members["first_name"]["examples"]) == (100, ["Ada"])
    assert (members["age"]["maximum"], members["age"]["format"]) == (150, "int32")
    assert members["age"]["description"] == RESOURCE.fields["age"].description
    assert members["why"]["maxLength"] == 1000
