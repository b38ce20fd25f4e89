"""Credentials seen before: what each stands for, so that neither a signature nor the database is asked each time.

A credential is remembered by its SHA-256, never by itself, and looked at again two seconds later: in the background at
first, so that nobody waits; after four and a half, whoever comes does. What happens to its key or its person here makes
it forgotten at once; what happens elsewhere shows within five seconds. What proved nothing is remembered for one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256

from api.auth.actors import USER, KeyClaim, Refusal, Standing, Subject, TokenClaim, of_key, of_token
from schema.engine.changes import Change
from schema.engine.errors import InvalidCredential
from schema.engine.operations.directory import Directory

FRESH_SECONDS, GOOD_SECONDS, REFUSED_SECONDS = 2.0, 4.5, 1.0
MOST_KEPT, MOST_REFUSED = 10_000, 10_000
MOST_CHANGES = 1000  # while one look is under way
NOBODY = ""  # what a token is about whose subject is no person's
Claim = KeyClaim | TokenClaim


@dataclass(frozen=True, slots=True)
class _Entry:
    """Until `fresh` nothing is looked up; until `good` nobody waits for it."""

    standing: Standing
    claim: Claim
    fresh: float
    good: float


@dataclass(frozen=True, slots=True)
class _Refused:
    """Until when a credential is refused unseen, and which record could change that."""

    until: float
    about: str | None


@dataclass(slots=True, eq=False)
class _Look:
    """A look that is under way, and what has changed since it began."""

    changes: list[Change] = field(default_factory=list)
    task: asyncio.Task[Standing | None] | None = None

    def outdated(self, about: str | None) -> bool:
        """Whether what was seen may not be so any more."""
        return len(self.changes) >= MOST_CHANGES or any(about in _touched(change) for change in self.changes)


class CredentialCache:
    """What credentials stand for. `prove` reads one that is new: what it claims, if that is proved.

    `subject` is the field of a person that a token's subject is matched with.
    """

    def __init__(self, prove: Callable[[bytes], Awaitable[Claim | None]], subject: Subject) -> None:
        self._prove = prove
        self._subject = subject
        self._kept: OrderedDict[bytes, _Entry] = OrderedDict()
        self._about: dict[str, set[bytes]] = {}
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._looking: dict[bytes, _Look] = {}

    def at_hand(self, value: bytes) -> Standing | None:
        """What a credential stands for that was looked at a moment ago."""
        entry = self._kept.get(sha256(value).digest())
        return None if entry is None or time.monotonic() >= entry.fresh else entry.standing

    def name_of(self, value: bytes) -> str | None:
        """The name of a credential that was good when it was last looked at: one for all spellings of the header."""
        entry = self._kept.get(sha256(value).digest())
        return None if entry is None else entry.standing.credential.name

    async def examined(self, value: bytes, directory: Directory) -> Standing:
        """What any credential stands for; `InvalidCredential` if nothing. Many who ask at once share one look."""
        digest, now = sha256(value).digest(), time.monotonic()
        entry = self._kept.get(digest)
        if entry is None and (refused := self._refused.get(digest)) and refused.until > now:
            raise _invalid()
        look = self._looking.get(digest)
        # Who has nothing to go by but a look that began before something changed might be told what was before.
        if look is None or (entry is None and look.changes):
            look = self._look(digest, value, entry, directory)
        if entry is not None and now < entry.good:
            return entry.standing
        assert look.task is not None
        standing = await asyncio.shield(look.task)
        if standing is None:
            raise _invalid()
        return standing

    def forget(self, change: Change) -> None:
        """A record has changed: whatever credential is about it is to be looked at again."""
        for about in _touched(change):
            for digest in self._about.pop(about, ()):
                self._kept.pop(digest, None)
                self._refused.pop(digest, None)
        for look in self._looking.values():
            if len(look.changes) < MOST_CHANGES:
                look.changes.append(change)

    def _look(self, digest: bytes, value: bytes, entry: _Entry | None, directory: Directory) -> _Look:
        look = self._looking[digest] = _Look()
        look.task = asyncio.create_task(self._examine(look, digest, value, entry, directory))
        look.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return look

    async def _examine(
        self, look: _Look, digest: bytes, value: bytes, entry: _Entry | None, directory: Directory
    ) -> Standing | None:
        """Look at a credential, and remember what was found. Where that cannot be said, what was known stays.

        What has changed meanwhile is not remembered: those who have waited came before.
        """
        try:
            claim = entry.claim if entry else await self._prove(value)
            found = await self._stands(claim, directory)
        finally:
            if self._looking.get(digest) is look:
                del self._looking[digest]
        standing = found if isinstance(found, Standing) else None
        if not look.outdated(_about(found)):
            self._drop(digest)
            if standing is None or claim is None:
                self._refuse(digest, found.about)
            else:
                self._keep(digest, standing, claim)
        return standing

    async def _stands(self, claim: Claim | None, directory: Directory) -> Standing | Refusal:
        if isinstance(claim, KeyClaim):
            return await of_key(claim, directory)
        return Refusal(None) if claim is None else await of_token(claim, directory, self._subject)

    def _keep(self, digest: bytes, standing: Standing, claim: Claim) -> None:
        now, expires = time.monotonic(), standing.credential.expires
        left = float("inf") if expires is None else expires - time.time()
        self._kept[digest] = _Entry(standing, claim, now + min(FRESH_SECONDS, left), now + min(GOOD_SECONDS, left))
        self._about.setdefault(standing.about or NOBODY, set()).add(digest)
        if len(self._kept) > MOST_KEPT:
            self._drop(next(iter(self._kept)))

    def _drop(self, digest: bytes) -> None:
        entry, refused = self._kept.pop(digest, None), self._refused.pop(digest, None)
        about = _about(entry.standing) if entry else refused.about if refused else None
        if about is not None and (found := self._about.get(about)):
            found.discard(digest)
            if not found:
                del self._about[about]

    def _refuse(self, digest: bytes, about: str | None) -> None:
        self._refused[digest] = _Refused(time.monotonic() + REFUSED_SECONDS, about)
        if about is not None:
            self._about.setdefault(about, set()).add(digest)
        if len(self._refused) > MOST_REFUSED:
            self._drop(next(iter(self._refused)))


def _touched(change: Change) -> tuple[str, ...]:
    """What credentials are about that the change can make stand for something else."""
    named = change.fields is None or "external_id" in change.fields
    return (
        (change.id, NOBODY) if named and change.model == USER.name and change.operation != "deleted" else (change.id,)
    )


def _about(found: Standing | Refusal) -> str | None:
    return found.about or (NOBODY if isinstance(found, Standing) else None)


def _invalid() -> InvalidCredential:
    return InvalidCredential("the credential is not valid")
