"""`Record` and `Link`, the base classes of models, and what their tables get besides the declared columns.

Models are declared with SQLModel. `_complete_table` gives each column a type that means the same in both databases
and the CHECKs that follow from the field's bounds. A field that filters and sorts accept (`index=True` or
`unique=True`) also gets the indexes and generated columns that these need:

- `<field>_key`: text that Python lower-cases, for `startswith`, search, and fields that ignore case;
- `<field>_sort`: for a nullable field; null sorts lowest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import uuid_utils
from sqlalchemy import BigInteger, CheckConstraint, Column, Computed, Index, Table, UniqueConstraint, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapper, declared_attr
from sqlalchemy.sql.compiler import DDLCompiler
from sqlmodel import Field, SQLModel

from schema.engine.model.action import Action, ShownOnce
from schema.engine.model.field import NULL_INTEGER_SORT_KEY, ResourceField, code_point_string, fields_of
from schema.engine.model.policy import Rules
from schema.engine.model.trigram_index import add_trigram_index

_LENGTH = len("2026-11-22T09:30:00.000000")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_DIALECTS = (sqlite.dialect(), postgresql.dialect())  # type: ignore[no-untyped-call]
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def new_id() -> str:
    """Generate a UUIDv7 (RFC 9562): later ids sort later."""
    return str(uuid_utils.uuid7())


def now() -> str:
    """The current time as the APIs and databases write it: UTC, RFC 3339, microseconds, `Z`."""
    return f"{datetime.now(UTC).isoformat(timespec='microseconds')[:_LENGTH]}Z"


def ago(time: timedelta) -> str:
    """The time that was `time` ago, written the same way."""
    return (datetime.now(UTC) - time).strftime(_TIME_FORMAT)


def extra(
    *,
    read_only: bool = False,
    write_only: bool = False,
    ignore_case: bool = False,
    searchable: bool = False,
    **arguments: Any,
) -> dict[str, Any]:
    """Build the `schema_extra` of SQLModel's `Field`, for what it has no parameter for.

    Args:
        read_only: clients cannot set it.
        write_only: responses never show it; together with `read_only`, only the server uses it.
        ignore_case: compared, and unique, in lower case.
        searchable: the operator `contains` searches it and, unless it is private, so does `q`.
        arguments: further arguments of pydantic's `Field`: `pattern`, `examples`.
    """
    flags = {"readOnly": read_only, "writeOnly": write_only, "ignoreCase": ignore_case, "searchable": searchable}
    return {"json_schema_extra": {flag: True for flag, is_set in flags.items() if is_set}, **arguments}


class Model(SQLModel):
    """What records and links share: access rules, and a table named after the class."""

    model_config = {"ignored_types": (Action, ShownOnce)}
    rules: ClassVar[Rules]

    @declared_attr  # type: ignore[arg-type]
    def __tablename__(cls) -> str:
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


class Record(Model):
    """A row with an id. Subclass it with `table=True` to declare a resource.

    `plural` names the resource where the regular plural is wrong. `sorts` lists orders of several fields that lists
    offer, each with an index.
    """

    plural: ClassVar[str] = ""
    sorts: ClassVar[tuple[tuple[str, ...], ...]] = ()

    id: str = Field(
        primary_key=True,
        description="The id, a UUIDv7; the same in every API.",
        schema_extra=extra(read_only=True, examples=["019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"]),
    )
    created_at: datetime = Field(
        description="When the record was created.",
        index=True,
        schema_extra=extra(read_only=True, examples=["2026-11-22T09:30:00.000000Z"]),
    )
    updated_at: datetime = Field(
        description="When the record was last changed.",
        index=True,
        schema_extra=extra(read_only=True, examples=["2026-11-22T09:30:00.000000Z"]),
    )
    version: int = Field(
        ge=1,
        description="The version: starts at 1, and grows by 1 with each change.",
        schema_extra=extra(read_only=True, examples=[1]),
    )


class Link(Model):
    """A link between two records: two foreign keys, the owning record's first, and fields of its own."""


@event.listens_for(Record, "instrument_class", propagate=True)
@event.listens_for(Link, "instrument_class", propagate=True)
def _complete_table(mapper: Mapper[Any], model: type[Model]) -> None:
    table = mapper.local_table
    assert isinstance(table, Table)
    table.dialect_options["sqlite"]["with_rowid"] = False
    table.indexes.clear()
    fields = {field.name: field for field in fields_of(model)}
    for field in fields.values():
        table.c[field.name].type = field.column_type()
        _add_key_columns(table, field)
        for check in _checks(field):
            table.append_constraint(CheckConstraint(check, name=field.name))
    for columns in _index_columns(model, fields):
        Index(None, *(table.c[name] for name in columns))
    add_trigram_index(table, [field.name for field in fields.values() if field.searchable])


def _add_key_columns(table: Table, field: ResourceField) -> None:
    if field.key_column:
        table.append_column(Column(field.key_column, code_point_string(), nullable=field.nullable))
    if field.sort_column != field.name:
        null_key, column_type = (
            (NULL_INTEGER_SORT_KEY, BigInteger()) if field.kind == "integer" else ("''", code_point_string())
        )
        generated = Computed(f"coalesce({_quoted(field.name)}, {null_key})", persisted=False)
        table.append_column(Column(field.sort_column, column_type, generated))
    if field.unique and field.ignore_case:
        _drop_unique(table, field.name)
        table.append_constraint(UniqueConstraint(table.c[f"{field.name}_key"]))


@compiles(Computed, "postgresql")
def _stored_generated_column(generated: Computed, compiler: DDLCompiler, **_: Any) -> str:
    """Store generated columns: PostgreSQL indexes no others. SQLite computes them, and indexes them too."""
    sql = compiler.sql_compiler.process(generated.sqltext, include_table=False, literal_binds=True)
    return f"GENERATED ALWAYS AS ({sql}) STORED"


def _drop_unique(table: Table, name: str) -> None:
    table.constraints -= {
        constraint
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint) and list(constraint.columns.keys()) == [name]
    }


def _checks(field: ResourceField) -> Iterator[str]:
    name = _quoted(field.name)
    if field.kind == "integer":
        yield f"{name} BETWEEN {field.minimum} AND {field.maximum}"
    if field.kind == "text":
        yield f"length({name}) BETWEEN {field.min_length} AND {field.max_length}"
    if field.kind == "enum":
        yield f"{name} IN ({', '.join(repr(str(choice.value)) for choice in field.choices)})"


def _quoted(name: str) -> str:
    """Quote a column's name if it is a reserved word in either database."""
    unreserved = all(dialect.identifier_preparer.quote(name) == name for dialect in _DIALECTS)
    return name if unreserved else f'"{name}"'


def _index_columns(model: type[Model], fields: dict[str, ResourceField]) -> Iterator[tuple[str, ...]]:
    if issubclass(model, Link):
        yield tuple(reversed([field.name for field in fields.values() if field.primary_key]))
        return
    for field in fields.values():
        if field.indexed and field.name != "id":
            yield field.sort_column, "id"
        if field.indexed and field.key_column and not (field.unique and field.ignore_case):
            yield field.key_column, "id"
    for names in getattr(model, "sorts", ()):
        yield *(fields[name].sort_column for name in names), "id"
