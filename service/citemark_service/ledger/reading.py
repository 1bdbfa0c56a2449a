"""What the ledger knows, read. Every method blocks, and raises `LedgerError`."""

import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, select
from sqlalchemy.exc import SQLAlchemyError

from citemark_schemas import Rollout, ScoreResult
from citemark_service.errors import LedgerError
from citemark_service.judges.tasks import Words
from citemark_service.ledger.database import migrated, place_of
from citemark_service.ledger.entry import NO_RUN, NO_STEP, place_name, unpacked
from citemark_service.ledger.tables import groups, prompts, rollouts, steps
from citemark_service.score.formula import restore_terms

_PAGE: Final = 64
"""Rollouts that are held at once; one may have megabytes of sources."""

_FETCHED: Final = 10_000

Numbers: TypeAlias = "array[int]"
Record = Mapping[str, Any]
"""A row by column."""

SHORT: Final = tuple(column for column in rollouts.columns if column.name != "detail")
"""What lists show of a rollout."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in training; a None is any."""

    run: str | None = None
    step: int | None = None
    group: str | None = None
    since: float | None = None
    """Unix time in seconds, included; like `until` only of rollouts."""
    until: float | None = None
    """Likewise, not included."""

    def conditions(self, table: Any) -> Iterator[ColumnElement[bool]]:
        """As conditions on a table that has these columns."""
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
    """One rollout with all that is kept of it."""

    seq: int
    run: str | None
    step: int | None
    group: str
    at: float
    """Unix time in seconds."""
    rollout: Rollout = field(repr=False)
    result: ScoreResult = field(repr=False)
    replies: tuple[Words, ...] = field(default=(), repr=False)
    """What the judge said."""

    @property
    def place(self) -> tuple[str | None, int | None, str]:
        """Run, step and group: those who have them in common are siblings."""
        return self.run, self.step, self.group


class LedgerReader:
    """Reads beside whoever writes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ready = False

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        name = place_of(self._engine)
        try:
            if not self._ready:
                migrated(self._engine)
                self._ready = True
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LedgerError(f"{name}: {getattr(error, 'orig', None) or error}") from error

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    def runs(self) -> list[Record]:
        """Each run with its sums over all steps, the latest first."""
        sums = {
            name: func.sum(steps.c[name])
            for name in ("rollouts", "rewarded", "refused", "failed", "reward_sum")
        }
        query = select(
            steps.c.run,
            func.count().label("steps"),
            *(value.label(name) for name, value in sums.items()),
            func.min(steps.c.first_at).label("first_at"),
            func.max(steps.c.last_at).label("last_at"),
        ).group_by(steps.c.run)
        return self._records(query.order_by(func.max(steps.c.last_at).desc()))

    def steps(self, run: str) -> list[Record]:
        """The rows of `steps` of a run, in order."""
        return self._records(select(steps).where(steps.c.run == run).order_by(steps.c.step))

    def kept_steps(self, run: str) -> tuple[int, int] | None:
        """The lowest and the highest step that rollouts of a run are kept of; None without any."""
        query = select(
            func.min(rollouts.c.step).label("low"), func.max(rollouts.c.step).label("high")
        ).where(rollouts.c.run == run, rollouts.c.step != NO_STEP)
        (row,) = self._records(query)
        return None if row["low"] is None else (row["low"], row["high"])

    def groups(self, place: Place, *, limit: int) -> list[Record]:
        """Rows of `groups`; the widest spread of rewards first."""
        spread = (groups.c.reward_max - groups.c.reward_min).desc().nulls_last()
        query = select(groups).where(*place.conditions(groups)).order_by(spread).limit(limit)
        return self._records(query)

    def rollouts(
        self,
        place: Place,
        *conditions: ColumnElement[bool],
        order: Sequence[ColumnElement[Any]] = (),
        limit: int,
    ) -> list[Record]:
        """Short columns of rollouts, in the order of writing where no other is given."""
        query = select(*SHORT).where(*place.conditions(rollouts), *conditions)
        return self._records(query.order_by(*order, rollouts.c.seq).limit(limit))

    def rollout(self, seq: int) -> KeptRollout | None:
        """One rollout; None where it is not, or no longer, kept."""
        with self._connected() as connection:
            row = connection.execute(_WHOLE.where(rollouts.c.seq == seq)).one_or_none()
        return None if row is None else _kept(row, _shared(row))

    def numbers(self, place: Place, *, limit: int | None = None, grouped: bool = False) -> Numbers:
        """The `seq` of every rollout of a place, in the order of writing: 8 MB a million.

        Args:
            limit: how many at most; the latest ones.
            grouped: in the order of run, step and group instead.
        """
        query = select(rollouts.c.seq).where(*place.conditions(rollouts))
        if limit is not None:
            latest = query.order_by(rollouts.c.seq.desc()).limit(limit)
            query = select(rollouts.c.seq).where(rollouts.c.seq.in_(latest))
        if grouped:
            query = query.order_by(*_BY_GROUP, rollouts.c.seq)
        with self._connected() as connection:
            found = connection.execution_options(yield_per=_FETCHED).scalars(query)
            # Sorted here: to have them in order, SQLite would walk the rollouts, not an index.
            return array("q", found if grouped else sorted(found))

    def families(self, place: Place) -> Iterator[Numbers]:
        """The `seq` of the rollouts of each group of a place, group by group."""
        query = select(*_BY_GROUP, rollouts.c.seq).where(*place.conditions(rollouts))
        with self._connected() as connection:
            streamed = connection.execution_options(yield_per=_FETCHED).execute(
                query.order_by(*_BY_GROUP, rollouts.c.seq)
            )
            for _, members in groupby(streamed, key=lambda row: row[:3]):
                yield array("q", (row.seq for row in members))

    def whole(self, numbers: Sequence[int]) -> Iterator[KeptRollout]:
        """These rollouts in this order with all that is kept of them, but for those that are gone.

        Read page by page, so that any number of them takes little memory and no reader holds
        the database for long.
        """
        for start in range(0, len(numbers), _PAGE):
            wanted = numbers[start : start + _PAGE]
            with self._connected() as connection:
                found = connection.execute(_WHOLE.where(rollouts.c.seq.in_(wanted))).all()
            rows = {row.seq: row for row in found}
            prompts_of = {row.prompt_id: row for row in found}
            shared = {key: _shared(row) for key, row in prompts_of.items()}
            for number in wanted:
                if number in rows:
                    yield _kept(rows[number], shared[rows[number].prompt_id])

    def _records(self, query: Select[Any]) -> list[Record]:
        with self._connected() as connection:
            return [row._asdict() for row in connection.execute(query)]


_BY_GROUP: Final = (rollouts.c.run, rollouts.c.step, rollouts.c.group_key)
_WHOLE: Final = select(
    *(
        rollouts.c[name]
        for name in ("seq", "run", "step", "group_key", "prompt_id", "at", "detail")
    ),
    prompts.c.question,
    prompts.c.sources,
).join(prompts, prompts.c.id == rollouts.c.prompt_id)


def _shared(row: Any) -> dict[str, Any]:
    """The part of a rollout that all samples of its prompt have."""
    with legible(row.seq):
        return {"question": row.question, **unpacked(row.sources)}


@contextmanager
def legible(seq: int) -> Iterator[None]:
    """Around the reading of a stored detail. Raises `LedgerError` where it is not what was kept."""
    try:
        yield
    except (zlib.error, ValueError, LookupError, TypeError) as error:
        raise LedgerError(f"rollout {seq} of the ledger cannot be read: {error}") from error


def _kept(row: Any, shared: Mapping[str, Any]) -> KeptRollout:
    with legible(row.seq):
        return _read(row, unpacked(row.detail), shared)


def _read(row: Any, detail: Mapping[str, Any], shared: Mapping[str, Any]) -> KeptRollout:
    return KeptRollout(
        seq=row.seq,
        run=None if row.run == NO_RUN else row.run,
        step=None if row.step == NO_STEP else row.step,
        group=row.group_key,
        at=row.at,
        rollout=Rollout.model_validate({**detail["rollout"], **shared}),
        result=restore_terms(ScoreResult.model_validate(detail["result"])),
        replies=tuple(Words(*reply) for reply in detail.get("replies", ())),
    )
