"""Access control: actors, and rules as SQL predicates.

A rule is given the actor profile (roles, scopes, whether it has an id) and returns a predicate over a row. The actor's
own id enters SQL only as `bindparam("actor")`, so that a plan compiled for one person serves every other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sqlalchemy import ColumnElement, and_, bindparam, case, func, literal, null, or_, select

from schema.engine.errors import FieldError, Forbidden

if TYPE_CHECKING:
    from sqlmodel import SQLModel

RuleResult = bool | ColumnElement[bool]
ROLES = ("reader", "editor", "admin")
Access = Literal["read", "write"]
_SCOPE = "([a-z_]+:)?(read|write)"
SCOPES_PATTERN = rf"^{_SCOPE}( {_SCOPE})*$"


class Columns(Protocol):
    """A row's columns by their names."""

    def __getitem__(self, name: str, /) -> ColumnElement[Any]:
        """The column."""


class Row(Protocol):
    """A row that a rule applies to: of a table, an alias or an enclosing query."""

    @property
    def c(self) -> Columns:
        """The columns."""


@dataclass(frozen=True, slots=True)
class ActorProfile:
    """The part of an actor that plans may depend on.

    Scopes restrict and never grant: without any, everything that the roles allow is allowed; with some, only what they
    name of it. Plans are looked up by the profile with every request, so its hash is computed once.
    """

    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    identified: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.roles, self.scopes, self.identified)))

    def __hash__(self) -> int:
        return self._hash

    def in_scope(self, resource: str, access: Access) -> bool:
        """Whether the scopes allow this access. `write` includes `read`."""
        words = (access, "write")
        return not self.scopes or any(word in self.scopes or f"{resource}:{word}" in self.scopes for word in words)

    def check_scope(self, resource: str, access: Access) -> None:
        """Raise `Forbidden` unless the scopes allow this access. It depends on no record, so it reveals none."""
        if not self.in_scope(resource, access):
            raise Forbidden(f"the credential lacks the scope {resource}:{access}: it has {self._scope_names}")

    @property
    def grantable_scopes(self) -> frozenset[str] | None:
        """The scopes that it may grant: its own, and `read` where it has `write`. None: any, or no restriction."""
        if not self.scopes or "write" in self.scopes:
            return None
        return self.scopes | {f"{word.removesuffix(':write')}:read" for word in self.scopes if word.endswith(":write")}

    def check_granted(self, scopes: str | None) -> None:
        """Refuse to give a credential wider scopes than its own.

        Raises:
            Forbidden: `scopes` is None, which is no restriction, or has words that it may not grant.
        """
        grantable = self.grantable_scopes
        if grantable is not None and not (scopes and grantable.issuperset(scopes.split())):
            message = f"must be one or more of {', '.join(sorted(grantable))}, separated by spaces"
            raise Forbidden(
                f"a new key must have scopes of its creator, which are {self._scope_names}",
                [FieldError(("scopes",), message, "forbidden")],
            )

    @property
    def _scope_names(self) -> str:
        return " ".join(sorted(self.scopes))


@dataclass(frozen=True)
class Actor:
    """Who makes a request.

    `id` is the actor's own user, if there is one. `name` is the credential (`key:…`, `token:…`): no plan and no rule
    depends on it; it distinguishes those who share a role where something is stored or counted per actor.
    """

    id: str | None = None
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    name: str = ""

    @cached_property
    def profile(self) -> ActorProfile:
        """The part that plans depend on."""
        return ActorProfile(self.roles, self.scopes, self.id is not None)


# The service itself: it looks up credentials, and reads what any actor has written on the same server.
SERVICE = Actor(roles=frozenset({"admin"}), name="tandem")
ACTOR_PROFILES = tuple(
    ActorProfile(frozenset(roles), identified=own)
    for roles in ((), *((role,) for role in ROLES))
    for own in (False, True)
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may do something with which row: `where` returns True, False or a predicate. Combine with `|` and `&`.

    A rule holds if its own result and all `conditions` hold, or one of the `alternatives` does.
    """

    evaluate: Callable[[Row, ActorProfile], RuleResult]
    fields: frozenset[str] | None = None
    alternatives: tuple[Rule, ...] = ()
    conditions: tuple[Rule, ...] = ()

    def where(self, row: Row, profile: ActorProfile, changed: frozenset[str] = frozenset()) -> RuleResult:
        """Return the predicate over `row` for a change of the fields in `changed`."""
        applies = self.fields is None or changed <= self.fields
        result = self.evaluate(row, profile) if applies else False
        own = all_of(result, *(rule.where(row, profile, changed) for rule in self.conditions))
        return any_of(own, *(rule.where(row, profile, changed) for rule in self.alternatives))

    def only(self, *fields: str) -> Rule:
        """The same rule, but only for changes of these fields."""
        alternatives = tuple(rule.only(*fields) for rule in self.alternatives)
        return Rule(self.evaluate, frozenset(fields), alternatives, self.conditions)

    def __or__(self, other: Rule) -> Rule:
        return Rule(self.evaluate, self.fields, (*self.alternatives, other), self.conditions)

    def __and__(self, other: Rule) -> Rule:
        return Rule(lambda row, profile: True, conditions=(self, other))


@dataclass(frozen=True, slots=True)
class Rules:
    """A model's access rules: one per operation, and one per group of private fields.

    A link's rules apply to the record that owns the link. `grants` names the field that holds the scopes of a record
    that is a credential.
    """

    read: Rule
    create: Rule
    update: Rule
    delete: Rule
    private: Mapping[tuple[str, ...], Rule] = field(default_factory=dict)
    grants: str | None = None

    def read_rule(self, name: str) -> Rule:
        """Who may see the field `name` of a record that they may see."""
        return next((rule for names, rule in self.private.items() if name in names), everybody)

    def check_grant(self, profile: ActorProfile, data: Mapping[str, Any], *, new: bool = False) -> None:
        """Raise `Forbidden` if `data` gives a credential wider scopes than the actor's.

        A `new` credential without scopes has all of them.
        """
        if self.grants is not None and (new or self.grants in data):
            profile.check_granted(data.get(self.grants))


def any_of(*results: RuleResult) -> RuleResult:
    """Combine results with OR."""
    if any(result is True for result in results):
        return True
    predicates = [result for result in results if not isinstance(result, bool)]
    return or_(*predicates) if predicates else False


def all_of(*results: RuleResult) -> RuleResult:
    """Combine results with AND."""
    if any(result is False for result in results):
        return False
    predicates = [result for result in results if not isinstance(result, bool)]
    return and_(*predicates) if predicates else True


def masked(value: ColumnElement[Any], result: RuleResult) -> ColumnElement[Any]:
    """Return the value where the rule holds, else NULL."""
    if isinstance(result, bool):
        return value if result else null()
    return case((result, value))


def role(*roles: str) -> Rule:
    """Actors with one of these roles."""
    unknown = set(roles) - set(ROLES)
    assert not unknown, f"unknown role {', '.join(sorted(unknown))}; roles: {', '.join(ROLES)}"
    return Rule(lambda row, profile: not profile.roles.isdisjoint(roles))


def own(column: str) -> Rule:
    """Actors whose id is in this column of the row."""
    return Rule(lambda row, profile: row.c[column] == bindparam("actor") if profile.identified else False)


def within_scopes(column: str) -> Rule:
    """Actors who may grant all scopes in this column of the row, which are separated by spaces."""

    def evaluate(row: Row, profile: ActorProfile) -> RuleResult:
        if profile.grantable_scopes is None:
            return True
        # Each word gets spaces of its own, so that the words can be removed one by one.
        rest = literal(" ").concat(func.replace(row.c[column], " ", "  ")).concat(" ")
        for word in sorted(profile.grantable_scopes):
            rest = func.replace(rest, f" {word} ", "")
        return rest == literal("")

    return Rule(evaluate)


def linked(link: type[SQLModel], **fields: str) -> Rule:
    """Actors whom a link with these fields joins to the row: `linked(Membership, role="owner")`."""

    def evaluate(row: Row, profile: ActorProfile) -> RuleResult:
        if not profile.identified:
            return False
        table = link.__table__.alias()  # type: ignore[attr-defined]
        row_key, actor_key = (key.parent.name for key in table.element.primary_key.columns for key in key.foreign_keys)
        joined = [table.c[row_key] == row.c["id"], table.c[actor_key] == bindparam("actor")]
        return select(literal(1)).where(*joined, *(table.c[name] == value for name, value in fields.items())).exists()

    return Rule(evaluate)


everybody = Rule(lambda row, profile: True)
nobody = Rule(lambda row, profile: False)
signed_in = Rule(lambda row, profile: profile.identified or bool(profile.roles))
