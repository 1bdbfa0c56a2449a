"""The ledger's database: a whole batch a transaction, bounded by size and age.

SQLAlchemy Core on SQLite or PostgreSQL. Everything here blocks and belongs to one thread.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    case,
    delete,
    func,
    insert,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.sql.dml import Insert

from citemark_service.ledger.database import ledger_errors, migrate, place_of
from citemark_service.ledger.rows import (
    HIGH,
    LOW,
    Row,
    prompt_id,
    prompt_row,
    rollout_row,
    sum_rows,
)
from citemark_service.ledger.tables import groups, prompts, rollouts, steps
from citemark_service.score.rollout import ScoredRollout

_log = logging.getLogger("citemark.ledger")

_Entry = tuple[ScoredRollout, Row]
"""A rollout, and its row of `rollouts`."""

_INSERTS: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""SQLAlchemy has its clause for conflicts in a class for each dialect."""
_DAY_S: Final = 86_400.0
# Deleting is as dear as writing; in pieces of this many it holds no batch up for long.
_PRUNED: Final = 2_000
_SAMPLED: Final = 1_000
_NOTED_S: Final = 600.0
"""How old the time that a prompt is noted with may be: to note it is to write its sources."""
_LIMIT_EXCEEDED: Final = "54"
"""PostgreSQL's class of errors for, say, a value that is too long for an index."""
_ROW_BYTES: Final = 1_024
"""About what a rollout takes beside its detail: columns, indexes, its part of a prompt."""
_PAGES: Final = text(
    "SELECT (pages.page_count - free.freelist_count) * size.page_size"
    " FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size"
)


class Written(NamedTuple):
    """What became of a batch: how many entries of each kind."""

    kept: int = 0
    again: int = 0
    """Re-posts of what is kept already."""
    refused: int = 0
    """Those that no database would take."""


class LedgerStore:
    """Writes entries; opened at the first use, and again after whatever went wrong.

    Args:
        max_bytes: what the database may take before the oldest rollouts go.
        max_days: age after which rollouts go, or None. Steps keep their sums.
        prune_every_s: how often that is looked at.
    """

    def __init__(
        self,
        engine: Engine,
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
        """Where the ledger is, without a password."""
        return place_of(self._engine)

    def write(self, entries: Sequence[ScoredRollout]) -> Written:
        """Keep these in one transaction, but for those that no database would take: they are
        logged.

        Raises:
            LedgerError: the database cannot be used now; none is kept.
        """
        with ledger_errors(self._engine):
            self._migrate()
            valid: list[_Entry] = []
            for entry in entries:
                try:
                    valid.append((entry, rollout_row(entry, prompt_id(entry.rollout))))
                except ValueError as error:  # a text that is no Unicode
                    _log.error("rollout %r cannot be kept: %s", entry.result.id, error)
            written = self._insert(valid)
            return written._replace(refused=written.refused + len(entries) - len(valid))

    @property
    def untidy(self) -> bool:
        """Whether it is time to look for what is too old or too much."""
        return time.monotonic() >= self._prune_at

    def tidy(self) -> None:
        """Delete a piece of what is too old or too much.

        Raises:
            LedgerError: the database cannot be used now.
        """
        self._prune_at = time.monotonic() + self._prune_every_s  # also where it fails
        with ledger_errors(self._engine), self._engine.begin() as connection:
            gone = 0
            if self._max_days is not None:
                before = time.time() - self._max_days * _DAY_S
                aged = select(rollouts.c.seq).where(rollouts.c.at < before).order_by(rollouts.c.at)
                gone += _drop(connection, aged.limit(_PRUNED))
            if _used_bytes(connection) > self._max_bytes:
                piece = max(1, min(_PRUNED, _count(connection) // 10))
                oldest = select(rollouts.c.seq).order_by(rollouts.c.seq).limit(piece)
                gone += _drop(connection, oldest)
        if gone:  # there may be more: come again at once
            self._prune_at = time.monotonic()

    def close(self) -> None:
        self._engine.dispose()

    def _insert(self, entries: Sequence[_Entry]) -> Written:
        """All at once or, where the database objects to one, each alone."""
        try:
            with self._engine.begin() as connection:
                kept = _write(connection, entries)
        except (DBAPIError, OverflowError) as error:
            if not isinstance(error, DataError | IntegrityError | OverflowError):
                sqlstate = str(getattr(error.orig, "sqlstate", None))
                if not sqlstate.startswith(_LIMIT_EXCEEDED):
                    raise  # the database is not well, and does not object to a row
            if len(entries) > 1:
                each = [self._insert([entry]) for entry in entries]
                return Written(*map(sum, zip(*each, strict=True)))
            ((entry, _),) = entries
            _log.error("rollout %r cannot be kept: %s", entry.result.id, error)
            return Written(refused=1)
        return Written(kept, again=len(entries) - kept)


def _write(connection: Connection, entries: Sequence[_Entry]) -> int:
    """Write those that are no re-posts, of what is kept or of one another; their number."""
    by_mark: dict[bytes, _Entry] = {}
    for entry, row in entries:
        by_mark.setdefault(row["once"], (entry, row))
    marks = select(rollouts.c.once).where(rollouts.c.once.in_(by_mark))
    for mark in connection.scalars(marks):
        del by_mark[mark]
    fresh = by_mark.values()
    if not fresh:
        return 0
    rows = [row for _, row in fresh]
    _write_prompts(connection, {row["prompt_id"]: entry for entry, row in fresh})
    connection.execute(insert(rollouts), rows)
    for table in (steps, groups):
        key = table.primary_key.columns.keys()
        # In one order everywhere, so that no two services wait for each other's rows.
        sums = sorted(sum_rows(rows, table), key=lambda row: [row[name] for name in key])
        connection.execute(_build_upsert(table, connection.dialect.name), sums)
    return len(fresh)


def _write_prompts(connection: Connection, entries: Mapping[bytes, ScoredRollout]) -> None:
    """Sources are compressed only for prompts that are new; of the others the time is noted."""
    query = select(prompts.c.id, prompts.c.last_at).where(prompts.c.id.in_(entries))
    known = {row.id: row.last_at for row in connection.execute(query)}
    for key, noted_at in known.items():
        at = entries[key].at
        if noted_at < at - _NOTED_S:
            connection.execute(update(prompts).where(prompts.c.id == key).values(last_at=at))
    fresh = [prompt_row(entry, key) for key, entry in entries.items() if key not in known]
    if fresh:
        # Another service may have written the same prompt meanwhile.
        once = _INSERTS[connection.dialect.name](prompts).on_conflict_do_nothing()
        connection.execute(once, fresh)


@cache
def _build_upsert(table: Table, dialect: str) -> Insert:
    """Insert sums, or add them to those that are there: `rows.merge_values` as SQL."""
    statement = _INSERTS[dialect](table)
    changes: dict[str, Any] = {}
    for old in table.columns:
        new = statement.excluded[old.name]
        if old.name in LOW | HIGH:
            better = new < old if old.name in LOW else new > old
            changes[old.name] = func.coalesce(case((better, new), else_=old), old, new)
        elif not old.primary_key:
            changes[old.name] = old + new
    upsert: Insert = statement.on_conflict_do_update(
        index_elements=list(table.primary_key), set_=changes
    )
    return upsert


def _drop(connection: Connection, chosen: Select[tuple[int]]) -> int:
    """Delete these rollouts, and what stood only for those of their time."""
    gone = connection.execute(delete(rollouts).where(rollouts.c.seq.in_(chosen))).rowcount
    if gone:
        left = connection.scalar(select(func.min(rollouts.c.at)))
        for table, late_s in ((prompts, _NOTED_S), (groups, 0.0)):
            alone = table.c.last_at < left - late_s if left is not None else true()
            connection.execute(delete(table).where(alone))
    return gone


def _count(connection: Connection) -> int:
    """At most so many rollouts are there; counting them would read them all."""
    span = select(func.max(rollouts.c.seq) - func.min(rollouts.c.seq) + 1)
    return int(connection.scalar(span) or 0)


def _used_bytes(connection: Connection) -> int:
    """What the ledger's rows take.

    A database server does not say so: its files keep their size when rows go, until they are
    vacuumed. There it is estimated from the newest rows.
    """
    if connection.dialect.name == "sqlite":
        return int(connection.scalar(_PAGES) or 0)
    newest = select(rollouts.c.detail).order_by(rollouts.c.seq.desc()).limit(_SAMPLED).subquery()
    mean = connection.scalar(select(func.avg(func.length(newest.c.detail)))) or 0
    return int(_count(connection) * (float(mean) + _ROW_BYTES))
