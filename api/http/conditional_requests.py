"""Conditional requests (RFC 9110, 13): entity tags of records and lists, `If-None-Match` (304) and `If-Match` (412).

A 304 is decided here, by `is_not_modified`. A 412 is decided in the transaction of the write, which compares the stored
version with `expected_versions` and raises `VersionMismatch` (`schema/engine/operations`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from zlib import crc32

from schema.engine.sql.record_lookup import RecordResult

_TAG = re.compile(r'(W/)?"([^"]*)"')
_VERSION = re.compile(r"([1-9][0-9]{0,9})(?:-[0-9a-z]{1,16})?", re.ASCII)


def record_etag(record: RecordResult) -> str:
    """Return a record's entity tag: its version, and a checksum of the JSON that this actor sees.

    The checksum separates actors who see other fields, and records that share a path (`/me`).
    """
    return f'"{record.version}-{crc32(record.json):08x}"'


def page_etag(body: bytes) -> str:
    """Return the entity tag of a page: a checksum of its content, because a list has no version."""
    return f'"{crc32(body):08x}-{len(body):x}"'


def is_not_modified(headers: Mapping[str, str], etag: str) -> bool:
    """Evaluate `If-None-Match` (RFC 9110, 13.1.2). Compares weakly."""
    header = headers.get("if-none-match")
    return header is not None and (header.strip() == "*" or etag.strip('"') in [tag for _, tag in _TAG.findall(header)])


def expected_versions(headers: Mapping[str, str]) -> frozenset[int] | None:
    """Return the record versions that `If-Match` (RFC 9110, 13.1.1) allows; None if it allows any.

    Compares strongly: a weak tag matches nothing. The checksum in a tag is ignored: any view of the version will do.
    """
    header = headers.get("if-match")
    if header is None or header.strip() == "*":
        return None
    versions = (_VERSION.fullmatch(tag) for weak, tag in _TAG.findall(header) if not weak)
    return frozenset(int(version[1]) for version in versions if version)
