"""One run over many rows: bounded workers that pull rows, score them and hand on the results."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from citemark_schemas import ScoreResult
from citemark_service.cli.outcomes import Outcomes
from citemark_service.cli.progress import Progress
from citemark_service.cli.resume import StaleResult, difference
from citemark_service.cli.rows import BadLine, Row
from citemark_service.cli.scorers import NoService, NotScored, Scorer
from citemark_service.cli.wording import counted
from citemark_service.errors import InvalidRequest


@dataclass
class Tally:
    """How many rows ended how."""

    kept: int = 0
    """Scored by an earlier run."""
    scored: int = 0
    """Judged, with a reward."""
    refused: int = 0
    """Not judged, for the rollout's own fault; such a row has a reward too."""
    failed: int = 0
    """Without a reward; another run may do better."""
    bad: int = 0
    """Lines that hold no usable rollout."""
    reward: float = 0.0
    """Sum of the rewards of this run."""
    aborted: str | None = None
    """Why the run ended before its rows did."""

    @property
    def exit_code(self) -> int:
        """2 where the input was bad, 1 where something has no reward, else 0."""
        if self.bad:
            return 2
        return 1 if self.failed or self.aborted else 0

    def count(self, result: ScoreResult) -> None:
        """Count one result."""
        if result.reward is None:
            self.failed += 1
            return
        self.reward += result.reward
        if result.refusal is None:
            self.scored += 1
        else:
            self.refused += 1

    def __str__(self) -> str:
        parts = [f"{self.scored} judged", f"{self.refused} refused", f"{self.failed} failed"]
        if self.bad:
            parts.append(counted(self.bad, "bad line"))
        if self.kept:
            parts.append(f"{self.kept} kept from before")
        rewarded = self.scored + self.refused
        mean = f"; mean reward {self.reward / rewarded:.3f}" if rewarded else ""
        return ", ".join(parts) + mean


class _Feed:
    """Hands out rows one at a time to many workers; reading may block, so a thread reads."""

    def __init__(self, rows: Iterator[Row | BadLine]) -> None:
        self._rows = rows
        self._turn = asyncio.Lock()

    async def next(self) -> Row | BadLine | None:
        async with self._turn:
            return await asyncio.to_thread(next, self._rows, None)


class Run:
    """Scores rows with at most `concurrency` in flight; memory does not grow with the input."""

    def __init__(
        self,
        *,
        scorer: Scorer,
        outcomes: Outcomes,
        progress: Progress,
        concurrency: int,
        rescore: bool = False,
    ) -> None:
        self._scorer = scorer
        self._outcomes = outcomes
        self._progress = progress
        self._concurrency = concurrency
        self._rescore = rescore
        self.tally = Tally()

    async def survey(self, rows: Iterator[Row | BadLine]) -> None:
        """Look through all rows before any is scored.

        Raises:
            StaleResult: one has a result that does not stand, and `rescore` is false.
        """
        if self._rescore or not self._outcomes.kept:
            return
        for row in rows:
            if isinstance(row, Row):
                self._stands(row)
            await asyncio.sleep(0)  # an interruption is seen here

    async def over(self, rows: Iterator[Row | BadLine]) -> Tally:
        """Score every row. Each result is written before the worker takes its next row.

        A result of an earlier run that does not stand is replaced where `rescore` is true, and
        ends the run where it is not.
        """
        feed = _Feed(rows)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(self._work(feed))
        return self.tally

    async def _work(self, feed: _Feed) -> None:
        while self.tally.aborted is None:
            row = await feed.next()
            if row is None:
                return
            try:
                await self._take(row)
            except NoService as error:
                self.tally.aborted = str(error)
            except OSError as error:
                self.tally.aborted = f"cannot write the results: {error}"
            except StaleResult as error:
                self._stop_at(error)
            self._progress.advance()

    async def _take(self, row: Row | BadLine) -> None:
        if isinstance(row, BadLine):
            self._refuse(row)
        elif self._stands(row):
            self.tally.kept += 1
        else:
            await self._score(row)

    def _stands(self, row: Row) -> bool:
        """Whether the row has a result already that this run would make again."""
        held = self._outcomes.kept.get(row.id)
        if held is None:
            return False
        try:
            stale = difference(held, self._scorer.expected(row))
        except InvalidRequest:
            return False  # scoring it will say what is wrong with it
        if stale is not None and not self._rescore:
            raise StaleResult(
                f"{self._outcomes.name} holds {row.id!r} {stale}; choose another -o or --rescore"
            )
        return stale is None

    async def _score(self, row: Row) -> None:
        try:
            result = await self._scorer.score(row)
        except InvalidRequest as error:
            self._refuse(BadLine(row.line, str(error)))
        except NotScored as error:
            self.tally.failed += 1
            self._progress.complain(f"line {row.line} ({row.id}): {error}")
        else:
            self._outcomes.write(result)
            self.tally.count(result)
            if result.failure is not None:
                told = f"{result.failure.kind}: {result.failure.message}"
                self._progress.complain(f"line {row.line} ({row.id}): {told}")

    def _stop_at(self, error: StaleResult) -> None:
        if self.tally.aborted is None:  # the first is told, and those in flight with it are not
            self.tally.bad += 1
            self.tally.aborted = str(error)

    def _refuse(self, bad: BadLine) -> None:
        self.tally.bad += 1
        self._progress.complain(f"line {bad.line}: {bad.message}")
