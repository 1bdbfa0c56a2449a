"""What the pages ask of the ledger: a bounded number of rows each, in a bounded time."""

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import Connection, Engine, event, func, select

from citemark_service.ledger.database import ledger_engine
from citemark_service.ledger.reading import LedgerReader, Place, Record, legible
from citemark_service.ledger.rows import KeptVerdicts, read_verdicts
from citemark_service.ledger.tables import prompts, rollouts, steps
from citemark_service.settings import Settings

WINDOW: Final = 2_048
"""Rollouts of a step that a page looks at: the latest ones."""

_INSTRUCTIONS: Final = 20_000
"""Instructions of SQLite between two looks at the clock: about a millisecond."""
_EXCERPT_CHARS: Final = 24_000_000
"""Of responses whose details one page reads: a second of work, where details are what they
usually are and where a policy made them large."""

_QUESTION_CHARS: Final = 100
_VARIABLES: Final = 500
_PROMPT_ID: Final = re.compile(r"[0-9a-f]{32}")

_LISTED: Final = tuple(
    rollouts.c[name]
    for name in (
        "seq", "run", "step", "group_key", "sample_id", "at", "reward", "scale", "rubric_reward",
        "citation_f1", "format_bonus", "fabricated", "addressed", "chars", "refusal", "failure",
    )
)  # fmt: skip
_SUMS: Final = tuple(
    column
    for column in steps.columns
    if column.name not in {"run", "step", "reward_min", "reward_max", "first_at", "last_at"}
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A rollout in short, with its verdicts."""

    row: Record
    verdicts: KeptVerdicts


class _Clock(threading.local):
    """When the read that a thread is at has to end, in `time.monotonic()`."""

    ends_at = float("inf")


class LedgerView(LedgerReader):
    """A reader for pages. Safe in several threads; every method blocks."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._clock = _Clock()
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", self._watch_clock)
        else:
            event.listen(engine, "begin", self._limit_statements)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release the connections."""
        self.close()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What this thread reads inside fails with `LedgerError` when the time is over."""
        self._clock.ends_at = time.monotonic() + seconds
        try:
            yield
        finally:
            self._clock.ends_at = float("inf")

    def _watch_clock(self, connection: Any, _: object) -> None:
        connection.set_progress_handler(
            lambda: int(time.monotonic() > self._clock.ends_at), _INSTRUCTIONS
        )

    def _limit_statements(self, connection: Connection) -> None:
        left_s = self._clock.ends_at - time.monotonic()
        if left_s < float("inf"):
            milliseconds = max(1, int(1_000 * left_s))
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")

    def curve(self, run: str, *, points: int) -> list[Record]:
        """The sums of `steps` over at most so many equal stretches of a run, in order.

        `step` is the first and `last` the last step of a stretch.
        """
        ends = select(func.min(steps.c.step).label("low"), func.max(steps.c.step).label("high"))
        (span,) = self._records(ends.where(steps.c.run == run))
        low, high = span["low"], span["high"]
        if low is None:
            return []
        width = max(1, -(-(high - low + 1) // points))
        stretch = (steps.c.step - low) // width
        query = (
            select(
                func.min(steps.c.step).label("step"),
                func.max(steps.c.step).label("last"),
                func.min(steps.c.reward_min).label("reward_min"),
                func.max(steps.c.reward_max).label("reward_max"),
                *(func.sum(column).label(column.name) for column in _SUMS),
            )
            .where(steps.c.run == run)
            .group_by(stretch)
        )
        return self._records(query.order_by(func.min(steps.c.step)))

    def latest_steps(self, run: str, *, before: int | None = None, limit: int) -> list[Record]:
        """Rows of `steps`, the highest step first; only those below `before`."""
        query = select(steps).where(steps.c.run == run)
        if before is not None:
            query = query.where(steps.c.step < before)
        return self._records(query.order_by(steps.c.step.desc()).limit(limit))

    def step(self, run: str, step: int) -> Record | None:
        """One row of `steps`, or None."""
        query = select(steps).where(steps.c.run == run, steps.c.step == step)
        return next(iter(self._records(query)), None)

    def neighbours(self, run: str, step: int) -> tuple[int | None, int | None]:
        """The steps of a run next below and above this one."""
        number = steps.c.step
        below = select(func.max(number).label("n")).where(steps.c.run == run, number < step)
        above = select(func.min(number).label("n")).where(steps.c.run == run, number > step)
        return self._records(below)[0]["n"], self._records(above)[0]["n"]

    def window(self, run: str, step: int, *, limit: int = WINDOW) -> list[Record]:
        """The latest rollouts of a step in short, the latest first."""
        query = select(*_LISTED).where(rollouts.c.run == run, rollouts.c.step == step)
        return self._records(query.order_by(rollouts.c.seq.desc()).limit(limit))

    def siblings(self, place: Place, *, limit: int) -> list[Record]:
        """The rollouts of a group in short, in the order of writing."""
        query = select(*_LISTED).where(*place.conditions(rollouts))
        return self._records(query.order_by(rollouts.c.seq).limit(limit))

    def questions(self, rows: Sequence[Record]) -> Mapping[str, str]:
        """How the questions begin of those groups that go by their prompt's id, by group key."""
        hashes = (key for key in dict.fromkeys(row["group_key"] for row in rows))
        keys = {key: bytes.fromhex(key) for key in hashes if _PROMPT_ID.fullmatch(key)}
        ids = list(keys.values())[:_VARIABLES]
        begun = func.substr(prompts.c.question, 1, _QUESTION_CHARS).label("question")
        query = select(prompts.c.id, begun).where(prompts.c.id.in_(ids))
        found = {row["id"]: row["question"] for row in self._records(query)}
        return {key: found[number] for key, number in keys.items() if number in found}

    def samples(self, rows: Sequence[Record]) -> list[Sample]:
        """These rollouts with their verdicts, as far as they are kept and not too long in all."""
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
                with legible(seq):
                    found[seq] = read_verdicts(detail)
        return [Sample(row, found[seq]) for seq, row in wanted.items() if seq in found]


def ledger_view(settings: Settings) -> LedgerView | None:
    """A view of the ledger that the settings name; None where it is off.

    Raises:
        SettingsError: as `ledger_of`.
    """
    if settings.ledger == "off":
        return None
    return LedgerView(ledger_engine(settings.ledger, reading=True))
