"""Writes to the ledger's database and prunes it. Everything here blocks, in one thread."""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.sql.dml import Insert

from citemark_service.ledger.database import ledger_errors, migrate, place_of
from citemark_service.ledger.tables import (
    HIGH,
    LOW,
    SUMS,
    Row,
    groups,
    prompt_id,
    prompt_row,
    prompts,
    rollout_row,
    rollouts,
    steps,
)
from citemark_service.score.rollout import ScoredRollout
from citemark_service.verdicts.store import USED_BYTES

_log = logging.getLogger("citemark.ledger")

_Entry = tuple[ScoredRollout, Row]

# ON CONFLICT is not in SQLAlchemy's generic insert, only in those of the dialects.
_INSERTS: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_DAY_S: Final = 86_400.0
# Rollouts deleted at once. Deleting costs as much as writing, and batches wait meanwhile.
_PRUNED: Final = 2_000
_SAMPLED: Final = 1_000  # rollouts from which the size of a PostgreSQL ledger is estimated
# `prompts.last_at` may lag by this much: an update rewrites the whole row with its sources.
_NOTED_S: Final = 600.0
# PostgreSQL's error class "program limit exceeded": a value too long for an index, for example.
_LIMIT_EXCEEDED: Final = "54"
# About what a rollout takes besides its detail: columns, indexes, its share of a prompt.
_ROW_BYTES: Final = 1_024


class Written(NamedTuple):
    kept: int = 0
    again: int = 0  # re-posts of stored samples
    refused: int = 0  # entries that cannot be stored


class LedgerStore:
    """Writes entries, one transaction a batch; connects on first use, and again after an error.

    Args:
        max_bytes: size of the database above which the oldest rollouts are deleted.
        max_days: age at which rollouts are deleted, or None. The sums in `steps` stay.
        prune_every_s: how often both limits are checked.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        max_bytes: int,
        max_days: float | None,
        prune_every_s: float = 10.0,
    ) -> None:
        self._engine = engine
        self._max_bytes = max_bytes
        self._max_days = max_days
        self._prune_every_s = prune_every_s
        self._prune_at = 0.0
        self._migrate = cache(lambda: migrate(engine))  # until it has succeeded once

    @property
    def name(self) -> str:
        """The database's address without its password."""
        return place_of(self._engine)

    def write(self, entries: Sequence[ScoredRollout]) -> Written:
        """Store a batch. Entries that cannot be stored are logged and counted as refused.

        Raises `LedgerError` if the database is not available; the batch may be written again.
        """
        with ledger_errors(self._engine):
            self._migrate()
            valid: list[_Entry] = []
            for entry in entries:
                try:
                    valid.append((entry, rollout_row(entry, prompt_id(entry.rollout))))
                except ValueError as error:  # a lone surrogate has no UTF-8
                    _log.error("rollout %r cannot be kept: %s", entry.result.id, error)
            written = self._insert(valid)
            return written._replace(refused=written.refused + len(entries) - len(valid))

    @property
    def untidy(self) -> bool:
        return time.monotonic() >= self._prune_at

    def tidy(self) -> None:
        """Delete some of the rollouts beyond the limits. Raises `LedgerError`."""
        self._prune_at = time.monotonic() + self._prune_every_s  # first, so it holds on errors too
        with ledger_errors(self._engine), self._engine.begin() as connection:
            gone = 0
            if self._max_days is not None:
                before = time.time() - self._max_days * _DAY_S
                aged = (
                    sa.select(rollouts.c.seq).where(rollouts.c.at < before).order_by(rollouts.c.at)
                )
                gone += _drop(connection, aged.limit(_PRUNED))
            if _used_bytes(connection) > self._max_bytes:
                piece = max(1, min(_PRUNED, _count(connection) // 10))
                oldest = sa.select(rollouts.c.seq).order_by(rollouts.c.seq).limit(piece)
                gone += _drop(connection, oldest)
        if gone:  # there may be more
            self._prune_at = time.monotonic()

    def close(self) -> None:
        self._engine.dispose()

    def _insert(self, entries: Sequence[_Entry]) -> Written:
        """Insert all in one transaction or, if the database rejects a row, each in its own."""
        try:
            with self._engine.begin() as connection:
                kept = _write(connection, entries)
        except (DBAPIError, OverflowError) as error:
            if not isinstance(error, DataError | IntegrityError | OverflowError):
                sqlstate = str(getattr(error.orig, "sqlstate", None))
                if not sqlstate.startswith(_LIMIT_EXCEEDED):
                    raise  # a fault of the database, not of a row
            if len(entries) > 1:
                each = [self._insert([entry]) for entry in entries]
                return Written(*map(sum, zip(*each, strict=True)))
            ((entry, _),) = entries
            _log.error("rollout %r cannot be kept: %s", entry.result.id, error)
            return Written(refused=1)
        return Written(kept, again=len(entries) - kept)


def _write(connection: sa.Connection, entries: Sequence[_Entry]) -> int:
    """Write entries that are no re-posts of stored ones or of one another; return how many."""
    by_mark: dict[bytes, _Entry] = {}
    for entry, row in entries:
        by_mark.setdefault(row["once"], (entry, row))
    marks = sa.select(rollouts.c.once).where(rollouts.c.once.in_(by_mark))
    for mark in connection.scalars(marks):
        del by_mark[mark]
    fresh = by_mark.values()
    if not fresh:
        return 0
    rows = [row for _, row in fresh]
    _write_prompts(connection, {row["prompt_id"]: entry for entry, row in fresh})
    connection.execute(sa.insert(rollouts), rows)
    add_sums(connection, list(by_mark))
    return len(fresh)


def _write_prompts(connection: sa.Connection, entries: Mapping[bytes, ScoredRollout]) -> None:
    """Insert new prompts; update `last_at` of known ones."""
    query = sa.select(prompts.c.id, prompts.c.last_at).where(prompts.c.id.in_(entries))
    known = {row.id: row.last_at for row in connection.execute(query)}
    for key, noted_at in known.items():
        at = entries[key].at
        if noted_at < at - _NOTED_S:
            connection.execute(sa.update(prompts).where(prompts.c.id == key).values(last_at=at))
    # Only now are sources compressed: most prompts are known from another sample.
    fresh = [prompt_row(entry, key) for key, entry in entries.items() if key not in known]
    if fresh:
        # Another service may have inserted the same prompt since the query.
        once = _INSERTS[connection.dialect.name](prompts).on_conflict_do_nothing()
        connection.execute(once, fresh)


def add_sums(connection: sa.Connection, marks: Sequence[bytes]) -> None:
    """Add rollouts that were just written, by their `once`, to `steps` and `groups`."""
    for table in (steps, groups):
        connection.execute(_build_sums(table, connection.dialect.name), {"marks": marks})


@cache
def _build_sums(table: sa.Table, dialect: str) -> Insert:
    """Insert the sums over the rollouts `marks`, or add them to those of existing rows."""
    key = [rollouts.c[column.name] for column in table.primary_key]
    fresh = (
        sa.select(*key, *(SUMS[each.name] for each in table.columns if not each.primary_key))
        .where(rollouts.c.once.in_(sa.bindparam("marks", expanding=True)))
        .group_by(*key)
        # Every service locks rows in the same order, so that two of them cannot deadlock.
        .order_by(*key)
    )
    statement = _INSERTS[dialect](table).from_select(table.columns.keys(), fresh)
    changes: dict[str, Any] = {}
    for old in table.columns:
        new = statement.excluded[old.name]
        if old.name in LOW | HIGH:
            # As CASE, since MIN of two values has another name in each dialect. A comparison
            # with NULL keeps `old`, which is why it is coalesced with `new`.
            better = new < old if old.name in LOW else new > old
            changes[old.name] = sa.func.coalesce(sa.case((better, new), else_=old), old, new)
        elif not old.primary_key:
            changes[old.name] = old + new
    upsert: Insert = statement.on_conflict_do_update(
        index_elements=list(table.primary_key), set_=changes
    )
    return upsert


def _drop(connection: sa.Connection, chosen: sa.Select[tuple[int]]) -> int:
    """Delete these rollouts, and all prompts and groups older than what is left; their number."""
    gone = connection.execute(sa.delete(rollouts).where(rollouts.c.seq.in_(chosen))).rowcount
    if gone:
        # A prompt's `last_at` may lag by `_NOTED_S`: one that looks a little too old may be in use.
        left = connection.scalar(sa.select(sa.func.min(rollouts.c.at)))
        for table, late_s in ((prompts, _NOTED_S), (groups, 0.0)):
            alone = table.c.last_at < left - late_s if left is not None else sa.true()
            connection.execute(sa.delete(table).where(alone))
    return gone


def _count(connection: sa.Connection) -> int:
    """An upper bound of the number of rollouts; an exact count would read the whole index."""
    span = sa.select(sa.func.max(rollouts.c.seq) - sa.func.min(rollouts.c.seq) + 1)
    return int(connection.scalar(span) or 0)


def _used_bytes(connection: sa.Connection) -> int:
    """Bytes that the ledger's rows take, without free pages."""
    if connection.dialect.name == "sqlite":
        return int(connection.scalar(sa.text(USED_BYTES)) or 0)
    # PostgreSQL's files keep their size until they are vacuumed, so estimate from the newest rows.
    newest = sa.select(rollouts.c.detail).order_by(rollouts.c.seq.desc()).limit(_SAMPLED).subquery()
    mean = connection.scalar(sa.select(sa.func.avg(sa.func.length(newest.c.detail)))) or 0
    return int(_count(connection) * (float(mean) + _ROW_BYTES))
