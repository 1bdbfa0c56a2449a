"""What the ledger knows, read. Every method blocks, and raises `LedgerError`."""

import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, select

from citemark_schemas import Rollout, ScoreResult
from citemark_service.errors import LedgerError, SettingsError
from citemark_service.judges.tasks import Words
from citemark_service.ledger.database import ledger_engine, ledger_errors, migrate
from citemark_service.ledger.rows import NO_RUN, NO_STEP, place_name, unpack
from citemark_service.ledger.tables import groups, prompts, rollouts, steps
from citemark_service.score.formula import restore_terms

_PAGE: Final = 64
"""Rollouts that are held at once; one may have megabytes of sources."""

_FETCHED: Final = 10_000

Numbers: TypeAlias = "array[int]"
Record = Mapping[str, Any]
"""A row by column."""

_SHORT: Final = tuple(column for column in rollouts.columns if column.name != "detail")
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
    def _connect(self) -> Iterator[Connection]:
        with ledger_errors(self._engine):
            if not self._ready:
                migrate(self._engine)
                self._ready = True
            with self._engine.connect() as connection:
                yield connection

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    def runs(self) -> list[Record]:
        """Each run with its sums over all steps, the latest first."""
        sums = ("rollouts", "rewarded", "refused", "failed", "reward_sum")
        query = select(
            steps.c.run,
            func.count().label("steps"),
            *(func.sum(steps.c[name]).label(name) for name in sums),
            func.min(steps.c.first_at).label("first_at"),
            func.max(steps.c.last_at).label("last_at"),
        ).group_by(steps.c.run)
        return self._records(query.order_by(func.max(steps.c.last_at).desc()))

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
        query = select(*_SHORT).where(*place.conditions(rollouts), *conditions)
        return self._records(query.order_by(*order, rollouts.c.seq).limit(limit))

    def rollout(self, seq: int) -> KeptRollout | None:
        """One rollout; None where it is not, or no longer, kept."""
        with self._connect() as connection:
            row = connection.execute(_WHOLE.where(rollouts.c.seq == seq)).one_or_none()
        return None if row is None else _read_rollout(row, _read_prompt(row))

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
        with self._connect() as connection:
            found = connection.execution_options(yield_per=_FETCHED).scalars(query)
            # Sorted here: to have them in order, SQLite would walk the rollouts, not an index.
            return array("q", found if grouped else sorted(found))

    def families(self, place: Place) -> Iterator[Numbers]:
        """The `seq` of the rollouts of each group of a place, group by group."""
        query = select(*_BY_GROUP, rollouts.c.seq).where(*place.conditions(rollouts))
        with self._connect() as connection:
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
            with self._connect() as connection:
                found = connection.execute(_WHOLE.where(rollouts.c.seq.in_(wanted))).all()
            rows = {row.seq: row for row in found}
            by_prompt = {row.prompt_id: row for row in found}
            texts = {key: _read_prompt(row) for key, row in by_prompt.items()}
            for number in wanted:
                if number in rows:
                    yield _read_rollout(rows[number], texts[rows[number].prompt_id])

    def _records(self, query: Select[Any]) -> list[Record]:
        with self._connect() as connection:
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


@contextmanager
def legible(seq: int) -> Iterator[None]:
    """Around the reading of a stored detail. Raises `LedgerError` where it is not what was kept."""
    try:
        yield
    except (zlib.error, ValueError, LookupError, TypeError) as error:
        raise LedgerError(f"rollout {seq} of the ledger cannot be read: {error}") from error


def _read_prompt(row: Any) -> dict[str, Any]:
    """The part of a rollout that all samples of its prompt have."""
    with legible(row.seq):
        return {"question": row.question, **unpack(row.sources)}


def _read_rollout(row: Any, prompt: Mapping[str, Any]) -> KeptRollout:
    with legible(row.seq):
        detail = unpack(row.detail)
        return KeptRollout(
            seq=row.seq,
            run=None if row.run == NO_RUN else row.run,
            step=None if row.step == NO_STEP else row.step,
            group=row.group_key,
            at=row.at,
            rollout=Rollout.model_validate({**detail["rollout"], **prompt}),
            result=restore_terms(ScoreResult.model_validate(detail["result"])),
            replies=tuple(Words(*reply) for reply in detail.get("replies", ())),
        )


def ledger_reader(address: str) -> LedgerReader:
    """A reader of the ledger at `address`.

    Raises:
        SettingsError: as `ledger_engine`, or there is no such file.
    """
    engine = ledger_engine(address, reading=True)
    file = engine.url.database
    if engine.dialect.name == "sqlite" and not Path(file or "").is_file():
        raise SettingsError(f"ledger: there is no file {file}; name another with --ledger URL")
    return LedgerReader(engine)
