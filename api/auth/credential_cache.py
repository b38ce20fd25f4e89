"""A cache of verified credentials, so that a request costs neither a signature nor a query.

Entries are keyed by SHA-256. After two seconds an entry is verified again, in the background; after four and a half the
request waits for that. Changes by this process invalidate entries at once, others show within five seconds.
Invalid credentials are cached for one second.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256

from api.auth.actors import (
    USER,
    Authentication,
    KeyClaim,
    Rejection,
    Subject,
    TokenClaim,
    authenticate_key,
    authenticate_token,
)
from schema.engine.changes import Change
from schema.engine.errors import InvalidCredential
from schema.engine.operations.directory import Directory

FRESH_SECONDS, VALID_SECONDS, REJECTED_SECONDS = 2.0, 4.5, 1.0
MAX_ENTRIES, MAX_REJECTED = 10_000, 10_000
MAX_CHANGES = 1000  # during one verification
NO_USER = ""  # in place of a record id, for tokens whose subject is no user's
Claim = KeyClaim | TokenClaim


@dataclass(frozen=True, slots=True)
class _Entry:
    """Served without verification until `fresh`; until `valid` while a new verification runs."""

    authentication: Authentication
    claim: Claim
    fresh: float
    valid: float


@dataclass(frozen=True, slots=True)
class _RejectedEntry:
    until: float
    record_id: str | None


@dataclass(slots=True, eq=False)
class _Verification:
    """A verification in progress, and the changes since it began."""

    changes: list[Change] = field(default_factory=list)
    task: asyncio.Task[Authentication | None] | None = None

    def is_outdated(self, record_id: str | None) -> bool:
        return len(self.changes) >= MAX_CHANGES or any(record_id in _affected(change) for change in self.changes)


class CredentialCache:
    """Caches verified and rejected credentials by SHA-256 of the header.

    `claim` reads a credential that is not cached; `subject` is the field that a token's subject is matched with.
    """

    def __init__(
        self,
        claim: Callable[[bytes], Awaitable[Claim | None]],
        subject: Subject,
        *,
        max_entries: int = MAX_ENTRIES,
        max_rejected: int = MAX_REJECTED,
    ) -> None:
        self._claim = claim
        self._subject = subject
        self._max_entries, self._max_rejected = max_entries, max_rejected
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._digests_by_record: dict[str, set[bytes]] = {}
        self._rejected: OrderedDict[bytes, _RejectedEntry] = OrderedDict()
        self._verifications: dict[bytes, _Verification] = {}

    def fresh(self, header: bytes) -> Authentication | None:
        """Return what is cached and fresh."""
        entry = self._entries.get(sha256(header).digest())
        return None if entry is None or time.monotonic() >= entry.fresh else entry.authentication

    def name_of(self, header: bytes) -> str | None:
        """Return the name of a cached credential, fresh or not; all spellings of the header share it."""
        entry = self._entries.get(sha256(header).digest())
        return None if entry is None else entry.authentication.credential.name

    async def authenticate(self, header: bytes, directory: Directory) -> Authentication:
        """Return what is cached, or verify the credential; concurrent calls share one verification.

        Raises:
            InvalidCredential: it is not valid.
        """
        digest, now = sha256(header).digest(), time.monotonic()
        entry = self._entries.get(digest)
        if entry is None and (rejected := self._rejected.get(digest)) and rejected.until > now:
            raise _invalid()
        verification = self._verifications.get(digest)
        # Without an entry, the result of a verification that began before a change may be outdated.
        if verification is None or (entry is None and verification.changes):
            verification = self._begin(digest, header, entry, directory)
        if entry is not None and now < entry.valid:
            return entry.authentication
        assert verification.task is not None
        authentication = await asyncio.shield(verification.task)
        if authentication is None:
            raise _invalid()
        return authentication

    def invalidate(self, change: Change) -> None:
        """Remove the entries that a change affects."""
        for record_id in _affected(change):
            for digest in self._digests_by_record.pop(record_id, ()):
                self._entries.pop(digest, None)
                self._rejected.pop(digest, None)
        for verification in self._verifications.values():
            if len(verification.changes) < MAX_CHANGES:
                verification.changes.append(change)

    def _begin(self, digest: bytes, header: bytes, entry: _Entry | None, directory: Directory) -> _Verification:
        verification = self._verifications[digest] = _Verification()
        verification.task = asyncio.create_task(self._verify(verification, digest, header, entry, directory))
        verification.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return verification

    async def _verify(
        self, verification: _Verification, digest: bytes, header: bytes, entry: _Entry | None, directory: Directory
    ) -> Authentication | None:
        """Verify a credential and cache the result, unless a change has outdated it; on an error the entry stays."""
        try:
            claim = entry.claim if entry else await self._claim(header)
            result = await self._authenticate_claim(claim, directory)
        finally:
            if self._verifications.get(digest) is verification:
                del self._verifications[digest]
        authentication = result if isinstance(result, Authentication) else None
        if not verification.is_outdated(_record_id(result)):
            self._drop(digest)
            if authentication is None or claim is None:
                self._reject(digest, result.record_id)
            else:
                self._add(digest, authentication, claim)
        return authentication

    async def _authenticate_claim(self, claim: Claim | None, directory: Directory) -> Authentication | Rejection:
        if isinstance(claim, KeyClaim):
            return await authenticate_key(claim, directory)
        return Rejection(None) if claim is None else await authenticate_token(claim, directory, self._subject)

    def _add(self, digest: bytes, authentication: Authentication, claim: Claim) -> None:
        now, expires = time.monotonic(), authentication.credential.expires
        left = float("inf") if expires is None else expires - time.time()
        fresh, valid = now + min(FRESH_SECONDS, left), now + min(VALID_SECONDS, left)
        self._entries[digest] = _Entry(authentication, claim, fresh, valid)
        self._digests_by_record.setdefault(authentication.record_id or NO_USER, set()).add(digest)
        if len(self._entries) > self._max_entries:
            self._drop(next(iter(self._entries)))

    def _drop(self, digest: bytes) -> None:
        entry, rejected = self._entries.pop(digest, None), self._rejected.pop(digest, None)
        record_id = _record_id(entry.authentication) if entry else rejected.record_id if rejected else None
        if record_id is not None and (digests := self._digests_by_record.get(record_id)):
            digests.discard(digest)
            if not digests:
                del self._digests_by_record[record_id]

    def _reject(self, digest: bytes, record_id: str | None) -> None:
        self._rejected[digest] = _RejectedEntry(time.monotonic() + REJECTED_SECONDS, record_id)
        if record_id is not None:
            self._digests_by_record.setdefault(record_id, set()).add(digest)
        if len(self._rejected) > self._max_rejected:
            self._drop(next(iter(self._rejected)))


def _affected(change: Change) -> tuple[str, ...]:
    """Return the record ids whose entries a change affects."""
    may_match_subject = change.fields is None or "external_id" in change.fields
    if may_match_subject and change.resource == USER.name and change.operation != "deleted":
        return (change.id, NO_USER)
    return (change.id,)


def _record_id(result: Authentication | Rejection) -> str | None:
    return result.record_id or (NO_USER if isinstance(result, Authentication) else None)


def _invalid() -> InvalidCredential:
    return InvalidCredential("the credential is not valid")
