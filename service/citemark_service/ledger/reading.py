"""Reads the ledger: single rollouts, lists, and a run's curves."""

import re
import threading
import time
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, Engine, Select, event, func, select

from citemark_schemas import Rollout, ScoreResult
from citemark_service.errors import LedgerError, SettingsError
from citemark_service.judges.tasks import Words
from citemark_service.ledger.database import ledger_errors, migrate, open_engine
from citemark_service.ledger.tables import (
    NO_RUN,
    NO_STEP,
    KeptVerdicts,
    groups,
    place_name,
    prompts,
    read_verdicts,
    rollouts,
    steps,
    unpack,
)
from citemark_service.score.formula import restore_terms

WINDOW: Final = 2_048
"""How many of a step's latest rollouts a page evaluates."""

_PAGE: Final = 64  # rollouts read at once; each may have megabytes of sources
_FETCHED: Final = 10_000
_INSTRUCTIONS: Final = 20_000  # of SQLite's virtual machine between two clock checks: about 1 ms
_EXCERPT_CHARS: Final = 24_000_000  # of responses whose details one page reads: about 1 s of work
_QUESTION_CHARS: Final = 100
_PROMPT_ID: Final = re.compile(r"[0-9a-f]{32}")

Numbers: TypeAlias = "array[int]"
Record = Mapping[Any, Any]
"""A row by column name."""

_SHORT: Final = [column for column in rollouts.columns if column.name != "detail"]
_BY_GROUP: Final = (rollouts.c.run, rollouts.c.step, rollouts.c.group_key, rollouts.c.seq)
_WHOLE: Final = select(
    *rollouts.c["seq", "run", "step", "group_key", "prompt_id", "at", "detail"],
    *prompts.c["question", "sources"],
).join(prompts, prompts.c.id == rollouts.c.prompt_id)
_NOT_SUMMED: Final = {"run", "step", "reward_min", "reward_max", "first_at", "last_at"}
_SUMS: Final = [
    func.sum(column).label(column.name) for column in steps.c if column.name not in _NOT_SUMMED
]


@dataclass(frozen=True, slots=True)
class Place:
    """A filter on rollouts; None matches any."""

    run: str | None = None
    step: int | None = None
    group: str | None = None
    since: float | None = None
    """Unix time in seconds, inclusive. Only `rollouts` has the column for this and `until`."""
    until: float | None = None  # Unix time in seconds, exclusive

    def conditions(self, table: Any) -> Iterator[ColumnElement[bool]]:
        if self.run is not None:
            yield table.c.run == place_name(self.run)
        if self.step is not None:
            yield table.c.step == self.step
        if self.group is not None:
            yield table.c.group_key == place_name(self.group)
        if self.since is not None:
            yield table.c.at >= self.since
        if self.until is not None:
            yield table.c.at < self.until


@dataclass(frozen=True, slots=True)
class KeptRollout:
    seq: int
    run: str | None
    step: int | None
    group: str
    at: float  # Unix time in seconds
    rollout: Rollout = field(repr=False)
    result: ScoreResult = field(repr=False)
    replies: tuple[Words, ...] = field(default=(), repr=False)  # raw replies of the judge

    @property
    def place(self) -> tuple[str | None, int | None, str]:
        return self.run, self.step, self.group


@dataclass(frozen=True, slots=True)
class Sample:
    """The short columns of a rollout, with its verdicts."""

    row: Record
    verdicts: KeptVerdicts


class _Clock(threading.local):
    ends_at = float("inf")


class LedgerReader:
    """Queries on the ledger. Thread-safe; every method blocks and may raise `LedgerError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._migrate = cache(lambda: migrate(engine))  # an error is not cached, so it is retried
        self._clock = _Clock()
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", self._watch_clock)
        else:
            event.listen(engine, "begin", self._limit_statements)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Queries of this thread in the context raise `LedgerError` after `seconds` in all."""
        self._clock.ends_at = time.monotonic() + seconds
        try:
            yield
        finally:
            self._clock.ends_at = float("inf")

    def _watch_clock(self, connection: Any, _: object) -> None:
        # A handler that returns nonzero interrupts the query.
        connection.set_progress_handler(
            lambda: int(time.monotonic() > self._clock.ends_at), _INSTRUCTIONS
        )

    def _limit_statements(self, connection: Connection) -> None:
        left_s = self._clock.ends_at - time.monotonic()
        if left_s < float("inf"):
            milliseconds = max(1, int(1_000 * left_s))
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with ledger_errors(self._engine):
            self._migrate()
            with self._engine.connect() as connection:
                yield connection

    def _records(self, query: Select[Any]) -> Sequence[Record]:
        with self._connect() as connection:
            return connection.execute(query).mappings().all()

    def _span(
        self, column: ColumnElement[int], *conditions: ColumnElement[bool]
    ) -> tuple[int, int] | None:
        query = select(func.min(column), func.max(column)).where(*conditions)
        with self._connect() as connection:
            low, high = connection.execute(query).one()
        return None if low is None else (low, high)

    def runs(self) -> Sequence[Record]:
        """Each run with its sums over all steps, the most recent first."""
        query = select(
            steps.c.run,
            func.count().label("steps"),
            *_SUMS,
            func.min(steps.c.first_at).label("first_at"),
            func.max(steps.c.last_at).label("last_at"),
        ).group_by(steps.c.run)
        return self._records(query.order_by(func.max(steps.c.last_at).desc()))

    def kept_steps(self, run: str) -> tuple[int, int] | None:
        """The lowest and highest step of a run's stored rollouts; None without any."""
        return self._span(rollouts.c.step, rollouts.c.run == run, rollouts.c.step != NO_STEP)

    def curve(self, run: str, *, points: int) -> Sequence[Record]:
        """Sums over at most `points` equal ranges of steps (`step` to `last`), in order."""
        span = self._span(steps.c.step, steps.c.run == run)
        if span is None:
            return []
        low, high = span
        width = max(1, -(-(high - low + 1) // points))  # rounded up
        query = select(
            func.min(steps.c.step).label("step"),
            func.max(steps.c.step).label("last"),
            func.min(steps.c.reward_min).label("reward_min"),
            func.max(steps.c.reward_max).label("reward_max"),
            *_SUMS,
        ).where(steps.c.run == run)
        stretch = (steps.c.step - low) // width
        return self._records(query.group_by(stretch).order_by(func.min(steps.c.step)))

    def latest_steps(self, run: str, *, before: int | None = None, limit: int) -> Sequence[Record]:
        """Rows of `steps`, the highest step first; with `before`, only lower steps."""
        query = select(steps).where(steps.c.run == run)
        if before is not None:
            query = query.where(steps.c.step < before)
        return self._records(query.order_by(steps.c.step.desc()).limit(limit))

    def step(self, run: str, step: int) -> Record | None:
        query = select(steps).where(steps.c.run == run, steps.c.step == step)
        return next(iter(self._records(query)), None)

    def neighbours(self, run: str, step: int) -> tuple[int | None, int | None]:
        """The next lower and next higher step of a run."""
        number, of_run = steps.c.step, steps.c.run == run
        below = self._span(number, of_run, number < step)
        above = self._span(number, of_run, number > step)
        return below and below[1], above and above[0]

    def groups(self, place: Place, *, limit: int) -> Sequence[Record]:
        """Rows of `groups`, the largest spread of rewards first."""
        spread = (groups.c.reward_max - groups.c.reward_min).desc().nulls_last()
        query = select(groups).where(*place.conditions(groups)).order_by(spread).limit(limit)
        return self._records(query)

    def rollouts(
        self,
        place: Place,
        *conditions: ColumnElement[bool],
        order: Sequence[ColumnElement[Any]] = (),
        limit: int,
    ) -> Sequence[Record]:
        """All columns of `rollouts` but `detail`, sorted by `order`, then in order of writing."""
        query = select(*_SHORT).where(*place.conditions(rollouts), *conditions)
        return self._records(query.order_by(*order, rollouts.c.seq).limit(limit))

    def window(self, run: str, step: int, *, limit: int = WINDOW) -> Sequence[Record]:
        """`rollouts` of a step, the latest first."""
        return self.rollouts(Place(run, step), order=[rollouts.c.seq.desc()], limit=limit)

    def questions(self, rows: Sequence[Record]) -> Mapping[str, str]:
        """The first 100 characters of the questions of unnamed groups, by group key."""
        # A group that the client did not name has the prompt's id as its key.
        keys = {row["group_key"] for row in rows if _PROMPT_ID.fullmatch(row["group_key"])}
        begun = func.substr(prompts.c.question, 1, _QUESTION_CHARS).label("question")
        ids = map(bytes.fromhex, keys)
        found = self._records(select(prompts.c.id, begun).where(prompts.c.id.in_(ids)))
        return {row["id"].hex(): row["question"] for row in found}

    def samples(self, rows: Sequence[Record]) -> list[Sample]:
        """Rollouts with verdicts, without deleted ones and those beyond 24 million characters."""
        wanted: dict[int, Record] = {}
        left = _EXCERPT_CHARS
        for row in rows:
            left -= row["chars"]
            if left < 0:
                break
            wanted[row["seq"]] = row
        query = select(rollouts.c.seq, rollouts.c.detail).where(rollouts.c.seq.in_(wanted))
        found: dict[int, KeptVerdicts] = {}
        with self._connect() as connection:
            for seq, detail in connection.execute(query):
                with _legible(seq):
                    found[seq] = read_verdicts(detail)
        return [Sample(row, found[seq]) for seq, row in wanted.items() if seq in found]

    def rollout(self, seq: int) -> KeptRollout | None:
        """One rollout; None where it does not exist (any more)."""
        return next(self.whole([seq]), None)

    def numbers(self, place: Place, *, limit: int | None = None, grouped: bool = False) -> Numbers:
        """The `seq` of a place's (latest) rollouts in order of writing; a million take 8 MB.

        `grouped` sorts by run, step and group instead.
        """
        query = select(rollouts.c.seq).where(*place.conditions(rollouts))
        if limit is not None:
            latest = query.order_by(rollouts.c.seq.desc()).limit(limit)
            query = select(rollouts.c.seq).where(rollouts.c.seq.in_(latest))
        if grouped:
            query = query.order_by(*_BY_GROUP)
        with self._connect() as connection:
            found = connection.execution_options(yield_per=_FETCHED).scalars(query)
            # Sorted here: with ORDER BY seq, SQLite would scan the table and not use an index.
            return array("q", found if grouped else sorted(found))

    def families(self, place: Place) -> Iterator[Numbers]:
        """The `seq` numbers of each group of a place."""
        query = select(*_BY_GROUP).where(*place.conditions(rollouts)).order_by(*_BY_GROUP)
        with self._connect() as connection:
            streamed = connection.execution_options(yield_per=_FETCHED).execute(query)
            for _, members in groupby(streamed, key=lambda row: row[:3]):
                yield array("q", (row.seq for row in members))

    def whole(self, numbers: Sequence[int]) -> Iterator[KeptRollout]:
        """Complete rollouts by `seq`, in the order given, without deleted ones."""
        # In pages: little memory for any number of rollouts, and no long read transaction.
        for start in range(0, len(numbers), _PAGE):
            wanted = numbers[start : start + _PAGE]
            with self._connect() as connection:
                found = connection.execute(_WHOLE.where(rollouts.c.seq.in_(wanted)))
                rows = {row.seq: row for row in found}
            shared: dict[bytes, dict[str, Any]] = {}
            for number in wanted:
                if number in rows:
                    yield _read_rollout(rows[number], shared)


@contextmanager
def _legible(seq: int) -> Iterator[None]:
    """Raise `LedgerError` where the stored bytes of a rollout cannot be decoded."""
    try:
        yield
    except (zlib.error, ValueError, LookupError, TypeError) as error:
        raise LedgerError(f"rollout {seq} of the ledger cannot be read: {error}") from error


def _read_rollout(row: Any, shared: dict[bytes, dict[str, Any]]) -> KeptRollout:
    """A row as a rollout; `shared` caches the decoded prompts by id."""
    with _legible(row.seq):
        if row.prompt_id not in shared:
            shared[row.prompt_id] = {"question": row.question, **unpack(row.sources)}
        detail = unpack(row.detail)
        return KeptRollout(
            seq=row.seq,
            run=None if row.run == NO_RUN else row.run,
            step=None if row.step == NO_STEP else row.step,
            group=row.group_key,
            at=row.at,
            rollout=Rollout.model_validate({**detail["rollout"], **shared[row.prompt_id]}),
            result=restore_terms(ScoreResult.model_validate(detail["result"])),
            replies=tuple(Words(*reply) for reply in detail.get("replies", ())),
        )


def ledger_reader(address: str) -> LedgerReader:
    """A reader of an existing ledger; raises as `open_engine`, or if there is no file."""
    engine = open_engine(address, reading=True)
    file = engine.url.database
    if engine.dialect.name == "sqlite" and not Path(file or "").is_file():
        raise SettingsError(f"ledger: there is no file {file}; name another with --ledger URL")
    return LedgerReader(engine)
