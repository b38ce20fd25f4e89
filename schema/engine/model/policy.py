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

Verdict = bool | ColumnElement[bool]
ROLES = ("reader", "editor", "admin")
Access = Literal["read", "write"]
_SCOPE = "([a-z_]+:)?(read|write)"
SCOPES_PATTERN = rf"^{_SCOPE}( {_SCOPE})*$"


class Columns(Protocol):
    """A row's columns by their names."""

    def __getitem__(self, name: str, /) -> ColumnElement[Any]:
        """The column."""


class Row(Protocol):
    """A row that a rule is asked about: of a table, of an alias, or of an enclosing query."""

    @property
    def c(self) -> Columns:
        """The columns."""


@dataclass(frozen=True, slots=True)
class ActorProfile:
    """All that a plan may know of an actor.

    Scopes take away and never give: with none, all that the roles allow is allowed; with some, what they name of it.
    Plans are looked up by it with every request, so its hash is worked out once.
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
        """Whether the scopes leave room for it. Who may write may read."""
        words = (access, "write")
        return not self.scopes or any(word in self.scopes or f"{resource}:{word}" in self.scopes for word in words)

    def check_scope(self, resource: str, access: Access) -> None:
        """`Forbidden` unless they do. It depends on no record, so it tells of none."""
        if not self.in_scope(resource, access):
            raise Forbidden(f"the credential is kept to {' '.join(sorted(self.scopes))}: not to {resource}:{access}")

    @property
    def grantable_scopes(self) -> frozenset[str] | None:
        """The scopes that it may give to others: its own, and reading where it may write; None for any, or none."""
        if not self.scopes or "write" in self.scopes:
            return None
        return self.scopes | {f"{word.removesuffix(':write')}:read" for word in self.scopes if word.endswith(":write")}

    def check_granted(self, scopes: str | None) -> None:
        """Refuse to give a credential wider scopes than its own.

        Raises:
            Forbidden: `scopes` is None, which is no restriction, or has words that it may not give.
        """
        grantable = self.grantable_scopes
        if grantable is not None and not (scopes and grantable.issuperset(scopes.split())):
            field_error = FieldError(
                ("scopes",), f"it has to be one or more of {' '.join(sorted(grantable))}", "forbidden"
            )
            raise Forbidden(
                f"the credential is kept to {' '.join(sorted(self.scopes))}, and so are its keys", [field_error]
            )


@dataclass(frozen=True)
class Actor:
    """Who asks. `id` is the actor's own user, if there is one; `name` says which credential speaks: `key:…`, `token:…`.

    No plan and no rule knows the name; it tells apart those who share a role, where something is kept or counted.
    """

    id: str | None = None
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    name: str = ""

    @cached_property
    def profile(self) -> ActorProfile:
        """What plans are made for."""
        return ActorProfile(self.roles, self.scopes, self.id is not None)


# The service itself: it looks up what credentials stand for, and sees whatever anybody has written through it.
SERVICE = Actor(roles=frozenset({"admin"}), name="tandem")
ACTOR_PROFILES = tuple(
    ActorProfile(frozenset(roles), identified=own)
    for roles in ((), *((role,) for role in ROLES))
    for own in (False, True)
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may, of which row: `where` gives True, False or a predicate. Combine rules with `|` and `&`.

    It holds where its verdict and all rules in `besides` do, or where one of the `others` does.
    """

    verdict: Callable[[Row, ActorProfile], Verdict]
    fields: frozenset[str] | None = None
    others: tuple[Rule, ...] = ()
    besides: tuple[Rule, ...] = ()

    def where(self, row: Row, profile: ActorProfile, changed: frozenset[str] = frozenset()) -> Verdict:
        """The predicate over `row`, if the fields in `changed` are to be changed."""
        mine = self.fields is None or changed <= self.fields
        verdict = self.verdict(row, profile) if mine else False
        held = both(verdict, *(rule.where(row, profile, changed) for rule in self.besides))
        return either(held, *(other.where(row, profile, changed) for other in self.others))

    def only(self, *fields: str) -> Rule:
        """The same rule, for changes of these fields alone."""
        others = tuple(other.only(*fields) for other in self.others)
        return Rule(self.verdict, frozenset(fields), others, self.besides)

    def __or__(self, other: Rule) -> Rule:
        return Rule(self.verdict, self.fields, (*self.others, other), self.besides)

    def __and__(self, other: Rule) -> Rule:
        return Rule(lambda row, profile: True, besides=(self, other))


@dataclass(frozen=True, slots=True)
class Rules:
    """A model's access rules: one for each verb, and one for each group of private fields.

    A link's rules are asked of the record that the link belongs to. `grants` is the field that holds the scopes of a
    record that is a credential.
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
        """Refuse data that give a credential wider scopes than the actor has; a `new` one without any has all."""
        if self.grants is not None and (new or self.grants in data):
            profile.check_granted(data.get(self.grants))


def either(*verdicts: Verdict) -> Verdict:
    """One verdict that holds if any does."""
    if any(verdict is True for verdict in verdicts):
        return True
    open_ones = [verdict for verdict in verdicts if not isinstance(verdict, bool)]
    return or_(*open_ones) if open_ones else False


def both(*verdicts: Verdict) -> Verdict:
    """One verdict that holds if all do."""
    if any(verdict is False for verdict in verdicts):
        return False
    open_ones = [verdict for verdict in verdicts if not isinstance(verdict, bool)]
    return and_(*open_ones) if open_ones else True


def masked(value: ColumnElement[Any], verdict: Verdict) -> ColumnElement[Any]:
    """The value where the verdict holds, else NULL."""
    if isinstance(verdict, bool):
        return value if verdict else null()
    return case((verdict, value))


def role(*roles: str) -> Rule:
    """Actors with one of these roles."""
    unknown = set(roles) - set(ROLES)
    assert not unknown, f"no such role: {', '.join(sorted(unknown))}; there are {', '.join(ROLES)}"
    return Rule(lambda row, profile: not profile.roles.isdisjoint(roles))


def own(column: str) -> Rule:
    """Actors whose id stands in this column of the row."""
    return Rule(lambda row, profile: row.c[column] == bindparam("actor") if profile.identified else False)


def within_scopes(column: str) -> Rule:
    """Actors who may give the scopes that stand in this column of the row, parted by spaces."""

    def verdict(row: Row, profile: ActorProfile) -> Verdict:
        if profile.grantable_scopes is None:
            return True
        # Each word between spaces of its own, so that the words can be struck out one by one.
        left = literal(" ").concat(func.replace(row.c[column], " ", "  ")).concat(" ")
        for word in sorted(profile.grantable_scopes):
            left = func.replace(left, f" {word} ", "")
        return left == literal("")

    return Rule(verdict)


def linked(link: type[SQLModel], **fields: str) -> Rule:
    """Actors whom `link` joins to the row, its own fields being as given: `linked(Membership, role="owner")`."""

    def verdict(row: Row, profile: ActorProfile) -> Verdict:
        if not profile.identified:
            return False
        table = link.__table__.alias()  # type: ignore[attr-defined]
        here, far = (key.parent.name for key in table.element.primary_key.columns for key in key.foreign_keys)
        mine = [table.c[here] == row.c["id"], table.c[far] == bindparam("actor")]
        return select(literal(1)).where(*mine, *(table.c[name] == value for name, value in fields.items())).exists()

    return Rule(verdict)


everybody = Rule(lambda row, profile: True)
nobody = Rule(lambda row, profile: False)
signed_in = Rule(lambda row, profile: profile.identified or bool(profile.roles))
