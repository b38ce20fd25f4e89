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
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from api.standing import KeyClaim, Standing, TokenClaim, of_key, of_token
from schema.engine.database import Directory
from schema.engine.errors import InvalidCredential
from schema.engine.events import Change

FRESH_SECONDS, GOOD_SECONDS, REFUSED_SECONDS = 2.0, 4.5, 1.0
MOST_KEPT, MOST_REFUSED = 10_000, 10_000
Claim = KeyClaim | TokenClaim


@dataclass(frozen=True, slots=True)
class _Entry:
    """Until `fresh` nothing is looked up; until `good` nobody waits for it."""

    standing: Standing
    claim: Claim
    fresh: float
    good: float


class Keyring:
    """What credentials stand for. `prove` reads one that is new: what it claims, if that is proved.

    `subject` is the field of a person that a token's subject is matched with.
    """

    def __init__(
        self, prove: Callable[[bytes], Awaitable[Claim | None]], subject: Literal["external_id", "id"]
    ) -> None:
        self._prove = prove
        self._subject = subject
        self._kept: OrderedDict[bytes, _Entry] = OrderedDict()
        self._about: dict[str, set[bytes]] = {}
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._looking: dict[bytes, asyncio.Task[Standing | None]] = {}

    def at_hand(self, value: bytes) -> Standing | None:
        """What a credential stands for that was looked at a moment ago."""
        entry = self._kept.get(sha256(value).digest())
        return None if entry is None or time.monotonic() >= entry.fresh else entry.standing

    def knows(self, value: bytes) -> bool:
        """Whether a credential was good when it was last looked at."""
        return sha256(value).digest() in self._kept

    async def examined(self, value: bytes, directory: Directory) -> Standing:
        """What any credential stands for; `InvalidCredential` if nothing. Many who ask at once share one look."""
        digest, now = sha256(value).digest(), time.monotonic()
        entry = self._kept.get(digest)
        if entry is None and self._refused.get(digest, now) > now:
            raise _invalid()
        looking = self._looking.get(digest) or self._look(digest, value, entry, directory)
        if entry is not None and now < entry.good:
            return entry.standing
        standing = await asyncio.shield(looking)
        if standing is None:
            raise _invalid()
        return standing

    def forget(self, change: Change) -> None:
        """A record has changed: whatever credential is about it is to be looked at again."""
        for digest in self._about.pop(change.id, ()):
            self._kept.pop(digest, None)

    def _look(
        self, digest: bytes, value: bytes, entry: _Entry | None, directory: Directory
    ) -> asyncio.Task[Standing | None]:
        looking = asyncio.create_task(self._examine(digest, value, entry, directory))
        self._looking[digest] = looking
        looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return looking

    async def _examine(
        self, digest: bytes, value: bytes, entry: _Entry | None, directory: Directory
    ) -> Standing | None:
        """Look at a credential, and remember what was found. Where that cannot be said, what was known stays."""
        try:
            claim = entry.claim if entry else await self._prove(value)
            standing = await self._stands(claim, directory)
        finally:
            self._looking.pop(digest, None)
        self._drop(digest)
        if standing is None or claim is None:
            self._refuse(digest)
            return None
        self._keep(digest, standing, claim)
        return standing

    async def _stands(self, claim: Claim | None, directory: Directory) -> Standing | None:
        if isinstance(claim, KeyClaim):
            return await of_key(claim, directory)
        return None if claim is None else await of_token(claim, directory, self._subject)

    def _keep(self, digest: bytes, standing: Standing, claim: Claim) -> None:
        now, expires = time.monotonic(), standing.credential.expires
        left = float("inf") if expires is None else expires - time.time()
        self._kept[digest] = _Entry(standing, claim, now + min(FRESH_SECONDS, left), now + min(GOOD_SECONDS, left))
        if standing.about:
            self._about.setdefault(standing.about, set()).add(digest)
        if len(self._kept) > MOST_KEPT:
            self._drop(next(iter(self._kept)))

    def _drop(self, digest: bytes) -> None:
        entry = self._kept.pop(digest, None)
        if entry and entry.standing.about:
            found = self._about.get(entry.standing.about, set())
            found.discard(digest)
            if not found:
                self._about.pop(entry.standing.about, None)

    def _refuse(self, digest: bytes) -> None:
        self._refused[digest] = time.monotonic() + REFUSED_SECONDS
        self._refused.move_to_end(digest)
        if len(self._refused) > MOST_REFUSED:
            self._refused.popitem(last=False)


def _invalid() -> InvalidCredential:
    return InvalidCredential("the credential is not valid")
