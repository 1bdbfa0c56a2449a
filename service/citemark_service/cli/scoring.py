"""Scoring rows in this process or by a running service."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import click
from pydantic import BaseModel, SecretStr, ValidationError

from citemark_grpo import Refused, ScoreClient, ScoreError, TimedOut, Unreachable
from citemark_rubrics import load_library
from citemark_schemas import Knobs, ScoreResult, WarningKind
from citemark_service.cli.options import chosen_settings, given_flags
from citemark_service.cli.results import Made, StreamResults, facts_of, find_difference
from citemark_service.cli.rows import BadRow, RolloutRow
from citemark_service.cli.terminal import Progress, count_noun
from citemark_service.errors import CitemarkError, DataError, InvalidRequest
from citemark_service.judges.factory import build_judge
from citemark_service.score.pipeline import Pipeline
from citemark_service.score.rollout import rollout_hash
from citemark_service.settings import Settings, load_settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.caching import cache_verdicts

_CALL_S: Final = 600.0
_DEADLINE_S: Final = 780.0
_STRANGER: Final = "no token, or a wrong one; set CITEMARK_API_TOKEN to the service's token"
# The likeliest cause on the caller's side, by status; such an answer is the same for each row.
_ADVICE: Final = {401: _STRANGER, 403: _STRANGER, 404: "is --url the root of a Citemark?"}


class NotScored(CitemarkError):
    """The service has no result for this rollout; the run goes on."""


class NoService(CitemarkError):
    """The service can score no row; the run ends."""


class StaleResult(DataError):
    """The file has a result of this id that was made differently."""


@dataclass(frozen=True, slots=True)
class Scorer:
    score: Callable[[RolloutRow], Awaitable[ScoreResult]]
    """May be called concurrently. Raises `InvalidRequest`, `NotScored` or `NoService`."""
    expect: Callable[[RolloutRow], Made]
    """What the result will be made of. Raises `InvalidRequest` if the row would be refused."""


def choose_scorer(
    url: str | None,
    knobs: Knobs,
    concurrency: int,
    flags: Mapping[str, Any],
    *,
    api_token: str | None = None,
) -> AbstractAsyncContextManager[Scorer]:
    """The scorer of the service at `url`, or one with the judge of the flags and the environment.

    Raises `click.UsageError` for a service with a judge's flags, or a token without a service.
    """
    if url is None:
        if api_token is not None:
            raise click.UsageError("--api-token is for a service; name it with --url")
        return local_scorer(chosen_settings(flags), knobs)
    if given := given_flags(flags):
        raise click.UsageError(f"--url leaves the judge to the service; drop {', '.join(given)}")
    # The flag wins over the environment.
    token = load_settings(**({} if api_token is None else {"api_token": api_token})).api_token
    return remote_scorer(url, knobs, concurrency, token)


@asynccontextmanager
async def local_scorer(settings: Settings, knobs: Knobs) -> AsyncIterator[Scorer]:
    metrics, library = Metrics(), load_library(settings.rubrics_dir)
    judge = cache_verdicts(build_judge(settings, metrics), settings, metrics)
    pipeline = Pipeline(judge=judge, library=library, settings=settings, metrics=metrics)

    async def score(row: RolloutRow) -> ScoreResult:
        pipeline.check(row.rollout, knobs)
        place = row.position
        return await pipeline.score(row.rollout, request=knobs, position=place, deadline=None)

    def expect(row: RolloutRow) -> Made:
        resolved, versions = pipeline.provenance(row.rollout, knobs)
        facts = facts_of(resolved, pipeline.judged_by.model, versions)
        return Made(rollout_hash(row.rollout), facts)

    async with aclosing(judge):
        yield Scorer(score, expect)


@asynccontextmanager
async def remote_scorer(
    url: str, knobs: Knobs, concurrency: int, api_token: SecretStr | None
) -> AsyncIterator[Scorer]:
    """Posts one row a call to the service at `url`. Raises `NoService` where none answers."""
    token = "" if api_token is None else f"Bearer {api_token.get_secret_value()}"
    headers = {"authorization": token} if token else {}
    async with ScoreClient(
        url, timeout_s=_CALL_S, deadline_s=_DEADLINE_S, parallel=concurrency, headers=headers
    ) as client:
        # A service does not publish its own defaults of knobs.
        known = {**await _read_index(client), **knobs.model_dump(exclude_unset=True)}

        async def score(row: RolloutRow) -> ScoreResult:
            # The client would number it within its own call, not within the file.
            rollout = row.rollout.model_copy(update={"id": row.id})
            try:
                (result,) = await client.score([rollout], knobs)
            except ScoreError as error:
                raise _to_row_error(error, client.root) from error
            return result

        def expect(row: RolloutRow) -> Made:
            given = row.rollout.model_dump(include=set(Knobs.model_fields), exclude_unset=True)
            return Made(rollout_hash(row.rollout), {**known, **given})

        yield Scorer(score, expect)


class ServiceIndex(BaseModel):
    service: Literal["citemark"]
    version: str
    judge: str


async def _read_index(client: ScoreClient) -> dict[str, object]:
    """Judge and version of the service; empty where a gateway answers `/` itself."""
    try:
        index = ServiceIndex.model_validate_json(await client.get("/"))
    except TimedOut as error:
        raise NoService(f"cannot reach {client.root}: {error}") from error
    except (ScoreError, ValidationError) as error:
        if isinstance(error, Unreachable) and error.status is None:
            raise NoService(f"cannot reach {error}") from error
        return {}
    return {"judge model": index.judge, "service version": index.version}


def _to_row_error(error: ScoreError, root: str) -> CitemarkError:
    status = error.status
    if isinstance(error, Unreachable):
        away, gateway = f"cannot reach {error}", f"the service answered {status}"
        return NoService(away) if status is None else NotScored(gateway)
    if not isinstance(error, Refused):
        return NotScored(str(error))
    if status in _ADVICE:
        return NoService(f"{root} answered {status}: {_ADVICE[status]}")
    problem = error.problem
    places = (f"{each.loc.removeprefix('items[0].')}: {each.message}" for each in problem.details)
    message = "; ".join(places) or problem.message
    if status in (None, 413, 422):  # None: the client's own check failed
        return InvalidRequest(message)
    return NotScored(f"the service answered {status}: {message}")


@dataclass
class Run:
    """Scores rows with at most `concurrency` in flight; memory does not grow with the input.

    A stale result of an earlier run is scored again if `rescore`, else it ends the run.
    """

    scorer: Scorer
    results: StreamResults
    progress: Progress
    concurrency: int
    rescore: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    """Rows `judged` with a reward, `refused` for the rollout's own fault (with a reward too),
    `failed` without one, `bad` lines, and `kept` from an earlier run."""
    warnings: Counter[WarningKind] = field(default_factory=Counter)
    """By kind the rows that have one."""
    examples: dict[WarningKind, str] = field(default_factory=dict)
    """The first message of each kind."""
    reward_sum: float = 0.0
    aborted: str | None = None  # why the run ended before its rows did
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def exit_code(self) -> int:
        return 2 if self.counts["bad"] else 1 if self.counts["failed"] or self.aborted else 0

    def summarise(self) -> str:
        parts = [f"{self.counts[name]} {name}" for name in ("judged", "refused", "failed")]
        if bad := self.counts["bad"]:
            parts.append(count_noun(bad, "bad line"))
        if kept := self.counts["kept"]:
            parts.append(f"{kept} kept from before")
        rewarded = self.counts["judged"] + self.counts["refused"]
        mean = f"; mean reward {self.reward_sum / rewarded:.3f}" if rewarded else ""
        return ", ".join(parts) + mean

    def list_warnings(self) -> Iterator[str]:
        for kind, count in self.warnings.items():
            yield f"warning {kind.value} in {count_noun(count, 'row')}: {self.examples[kind]}"

    async def survey(self, rows: Iterator[RolloutRow | BadRow]) -> None:
        """Raise `StaleResult` before any row is scored, if any has one."""
        if self.rescore or not self.results.kept:
            return
        for row in rows:
            if isinstance(row, RolloutRow):
                self._is_kept(row)
            await asyncio.sleep(0)  # an interruption is seen here

    async def score_all(self, rows: Iterator[RolloutRow | BadRow]) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.concurrency):
                group.create_task(self._work(rows))

    async def _work(self, rows: Iterator[RolloutRow | BadRow]) -> None:
        while self.aborted is None:
            # One reader at a time: an iterator must not run in two threads.
            async with self._reading:
                try:
                    row = await asyncio.to_thread(next, rows, None)  # reading may block
                except DataError as error:  # a gzip or a table that breaks off
                    self.counts["bad"] += 1
                    self.aborted = str(error)
                    return
            if row is None:
                return
            try:
                await self._take(row)
            except NoService as error:
                self.aborted = str(error)
            except OSError as error:
                self.aborted = f"cannot write the results: {error}"
            except StaleResult as error:
                if self.aborted is None:  # others in flight may be stale too
                    self.counts["bad"] += 1
                    self.aborted = str(error)
            self.progress.advance()

    async def _take(self, row: RolloutRow | BadRow) -> None:
        if isinstance(row, BadRow):
            self.counts["bad"] += 1
            self.progress.complain(f"{row.place}: {row.message}")
            return
        if self._is_kept(row):
            self.counts["kept"] += 1
            return
        place = f"{row.place} ({row.id})"
        try:
            result = await self.scorer.score(row)
        except (InvalidRequest, NotScored) as error:
            invalid = isinstance(error, InvalidRequest)
            self.counts["bad" if invalid else "failed"] += 1
            self.progress.complain(f"{row.place if invalid else place}: {error}")
            return
        self.results.write(result)
        for warning in result.warnings:
            self.warnings[warning.kind] += 1
            self.examples.setdefault(warning.kind, warning.message)
        rewarded = "refused" if result.refusal else "judged"
        self.counts["failed" if result.reward is None else rewarded] += 1
        self.reward_sum += result.reward or 0.0
        if failure := result.failure:
            self.progress.complain(f"{place}: {failure.kind}: {failure.message}")

    def _is_kept(self, row: RolloutRow) -> bool:
        """Whether the row's result can stay. Raises `StaleResult` if not, unless `rescore`."""
        kept = self.results.kept.get(row.id)
        if kept is None:
            return False
        try:
            stale = find_difference(kept, self.scorer.expect(row))
        except InvalidRequest:
            return False  # scoring it reports the error
        if stale is not None and not self.rescore:
            raise StaleResult(
                f"{self.results.name} holds {row.id!r} {stale}; choose another -o or --rescore"
            )
        return stale is None
