"""The import: all files are read onto the stage, judged there together, and stored in one transaction, or not at all.

While files are read nothing is locked; then other writers wait until the import is over. It creates and changes, and
never deletes: what is not in the files stays. Who is meant by a row is told in `recognising.py`. What is new keeps the
`id`, `created_at`, `updated_at` and `version` that its row has, so that an export comes into an empty directory as it
was; of what is known already, the directory keeps these itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from schema.engine.model.record import now
from schema.transfer import Tell
from schema.transfer.limits import Limits, Metered, budget_of, check_rows
from schema.transfer.record_matching import recognise
from schema.transfer.row_errors import RowError, bad_rows, row_errors
from schema.transfer.row_parser import Intake
from schema.transfer.session import explained, session
from schema.transfer.sheet import Sheet
from schema.transfer.source import Heading, Line, Source, opened
from schema.transfer.staging_tables import Stage
from schema.transfer.storage import store
from schema.transfer.validation import judge

BATCH, BATCH_CHARACTERS = 5000, 2**22  # rows held at a time, and what they may add up to
USUAL = Limits()


@dataclass(frozen=True, slots=True)
class Counts:
    """What has become of the rows of a sheet."""

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What an import has done, or would do if it is not `stored`; the first blemishes, and how many were found."""

    stored: bool
    counts: Mapping[str, Counts]
    row_errors: Sequence[RowError]
    found: int

    @property
    def bad(self) -> int:
        """How many rows are bad."""
        return sum(counts.bad for counts in self.counts.values())


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import: all files of one `kind`, the good rows although there are bad ones, or only as a trial."""

    kind: str | None = None
    skip_bad: bool = False
    dry_run: bool = False
    most_told: int = 50
    limits: Limits = USUAL


def import_files(
    path: str, sheets: Mapping[str, Sheet], sources: Sequence[Source], wish: ImportOptions, tell: Tell
) -> Report:
    """Bring files into a database; `tell` hears what is under way, and how far it is."""
    with explained(path), session(path) as opened:
        return _import(Stage(opened, sheets, wish.most_told), sources, wish, tell)


def _import(stage: Stage, sources: Sequence[Source], wish: ImportOptions, tell: Tell) -> Report:
    headings, total = _read(stage, sources, wish, tell)
    tell("Checking", None)
    stage.index()
    hopeless = bool(bad_rows(stage)) and not wish.skip_bad
    stage.begin(writing=not (wish.dry_run or hopeless))
    recognise(stage, skip_bad=wish.skip_bad)
    judge(stage, skip_bad=wish.skip_bad)
    stored = not wish.dry_run and (wish.skip_bad or not bad_rows(stage))
    report = _report(stage, headings, stored, wish.most_told)
    if stored:
        for share in store(stage, now(), total):
            tell("Storing", share)
        stage.commit()
    return report


def _read(stage: Stage, sources: Sequence[Source], wish: ImportOptions, tell: Tell) -> tuple[list[Heading], int]:
    """Put all rows on the stage, numbered through; the files' headings and the number of rows."""
    headings: list[Heading] = []
    number, budget = 0, budget_of(wish.limits)
    stage.begin(writing=False)
    for file, source in enumerate(sources):
        with opened(source, stage.sheets, wish.kind, budget) as (heading, lines, raw):
            headings.append(heading)
            intake = Intake(stage, heading, file)
            for batch in _batches(lines):
                intake.take(enumerate(batch, number))
                number += len(batch)
                check_rows(number, wish.limits)
                tell(f"Reading {source.name}", _share(raw, source))
    stage.commit()
    return headings, number


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """The rows, some at a time: many short ones, or a few long ones."""
    batch, size = list[Line](), 0
    for line in lines:
        batch.append(line)
        size += line.size
        if len(batch) == BATCH or size > BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _share(raw: Metered, source: Source) -> float | None:
    return min(raw.tell() / source.size, 1) if source.size else None


def _report(stage: Stage, headings: Sequence[Heading], stored: bool, most: int) -> Report:
    bad = bad_rows(stage)
    counts = {}
    for name in sorted({heading.sheet.name for heading in headings}, key=list(stage.sheets).index):
        deed = stage.rows[name].c._deed
        counted = select(deed, func.count()).where(stage.rows[name].c._bad == 0).group_by(deed)
        counts[name] = Counts(**dict(map(tuple, stage.run(counted))), bad=bad.get(name, 0))
    return Report(stored, counts, *row_errors(stage, headings, most))
