"""One request in a trainer's protocol, from bytes to bytes, inside the service's bounds.

Unlike `/v1/score`, whose client says how long it waits and can read a null, these routes answer
before a deadline of their own, wait for room instead of refusing, since their clients answer a
429 by giving up, and go on judging when the client leaves, since it posts the same again.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect, Request

from citemark_schemas import (
    EnvelopeError,
    Knobs,
    ProblemDetail,
    Rollout,
    ScoreResult,
    rollout_of,
    unwrapped,
)
from citemark_schemas.means import StandIns, prompt_key
from citemark_service.errors import (
    InvalidRequest,
    JudgeFailed,
    Overloaded,
    RequestError,
    TooLarge,
)
from citemark_service.judges.protocol import Origin
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.web.admission import Admission
from citemark_service.web.batch import unless_gone
from citemark_service.web.body import declared_length, read_body
from citemark_service.web.dialects.bodies import characters, decoded
from citemark_service.web.dialects.counts import DialectCounts
from citemark_service.web.dialects.dialect import (
    Asked,
    Dialect,
    DialectOptions,
    OnError,
    Outcome,
    Sample,
    misshapen,
)
from citemark_service.web.dialects.static_only import StaticOnly
from citemark_service.web.dialects.unclaimed import Answer, Unclaimed, Work
from citemark_service.web.intake import Turns, invalid
from citemark_service.web.origin import origin_of
from citemark_service.web.quota import Hold

_RETRY_AFTER_S: Final = 5.0
_STANDING_IN: Final = ("fallback", "mask")
_LISTS: Final = 8
"""Lists of `max_items` that one request may hold: older clients post a whole step at once."""

_log = logging.getLogger("citemark.dialects")


@dataclass(frozen=True, slots=True)
class _Errand:
    """One request on its way."""

    dialect: Dialect
    options: DialectOptions
    on_error: OnError
    origin: Origin
    deadline: float
    """`time.monotonic()` by which it is answered."""
    body: bytes
    key: bytes
    """Equal for requests that are the same to the last byte."""
    held: ExitStack
    """Gives back what the request holds of the service's bounds."""
    seats: Hold
    """Rollouts in flight; it comes with one."""


class DialectEngine:
    """Answers requests in any dialect; one for the service. Used within one event loop."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        settings: Settings,
        admission: Admission,
        dialects: Sequence[Dialect],
        registry: CollectorRegistry,
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._admission = admission
        self._counts = DialectCounts(registry, dialects)
        self._static_only = StaticOnly()
        self._standins = StandIns()
        self._unclaimed = Unclaimed()
        self._running: set[Work] = set()

    async def answer(
        self, dialect: Dialect, request: Request, options: DialectOptions, caller: str | None
    ) -> bytes:
        """The response body; `caller` is what the header says.

        Raises `RequestError` and `ClientDisconnect`.
        """
        self._counts.request(dialect.name)
        self._admission.require_open()
        try:
            on_error = _policy(dialect, options)
            errand = await self._admitted(dialect, request, options, on_error, caller)
            with errand.held:  # what the judging has not taken over
                return await self._delivered(errand, request)
        except InvalidRequest as error:
            # These clients hide the answer's body, so the log has to tell what is wrong.
            _log.warning("%s: bad request: %r", dialect.path, str(error))
            self._counts.bad_request(dialect.name)
            raise

    async def _admitted(
        self,
        dialect: Dialect,
        request: Request,
        options: DialectOptions,
        on_error: OnError,
        caller: str | None,
    ) -> _Errand:
        """The request with its body read, holding one rollout and the body's bytes."""
        deadline = time.monotonic() + (options.deadline_s or dialect.deadline_s)
        with ExitStack() as stack:
            seats = stack.enter_context(self._admission.rollouts.hold())
            await self._first_seat(seats, deadline)
            body = await self._body(request, stack)
            origin = origin_of(
                request, caller, options.priority, run=options.run, step=options.step
            )
            self._admission.require_open()
            return _Errand(
                dialect=dialect,
                options=options,
                on_error=on_error,
                origin=origin,
                deadline=deadline,
                body=body,
                key=_key(dialect, request, origin, body),
                held=stack.pop_all(),
                seats=seats,
            )

    async def _first_seat(self, seats: Hold, deadline: float) -> None:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await seats.wait()
        except TimeoutError as error:
            raise Overloaded(
                "no room for this rollout before its deadline", retry_after_s=_RETRY_AFTER_S
            ) from error

    async def _body(self, request: Request, stack: ExitStack) -> bytes:
        return await read_body(
            request.receive,
            declared=declared_length(request.headers),
            limit=self._settings.max_body_bytes,
            held=stack.enter_context(self._admission.buffered.hold()),
            admission=self._admission,
            timeout_s=self._settings.body_timeout_s,
        )

    async def _delivered(self, errand: _Errand, request: Request) -> bytes:
        left = self._unclaimed.claim(errand.key)
        if left is not None:
            answer = await self._awaited(left, errand, request)
            if isinstance(answer, Answer) and answer.whole:
                self._counts.repost(errand.dialect.name)
                return answer.body
        answer = await self._awaited(self._started(errand), errand, request)
        if isinstance(answer, RequestError):
            raise answer
        return answer.body

    def _started(self, errand: _Errand) -> Work:
        """The judging as a task of its own, which does not end with the request."""
        held = errand.held.pop_all()
        work = asyncio.get_running_loop().create_task(self._judged(errand))
        self._running.add(work)  # the loop itself holds tasks weakly
        work.add_done_callback(self._running.discard)
        # A callback, because a task that is cancelled before it starts runs no `finally`.
        work.add_done_callback(lambda _: held.close())
        return work

    async def _awaited(
        self, work: Work, errand: _Errand, request: Request
    ) -> Answer | RequestError:
        try:
            return await unless_gone(request.receive, _ended(work))
        except ClientDisconnect:
            self._unclaimed.leave(errand.key, work)
            raise

    async def _judged(self, errand: _Errand) -> Answer:
        body = decoded(errand.body)
        rollouts = await self._rollouts(errand.dialect.read(body), errand.options)
        self._static_only.note(errand.dialect, rollouts, errand.options.run)
        async with self._admission.work():
            outcomes = await self._outcomes(rollouts, errand)
        for outcome in outcomes:
            self._counts.rollout(errand.dialect.name, outcome, errand.on_error)
        failed = [outcome for outcome in outcomes if outcome.failed]
        if failed and errand.on_error == "http":
            raise _without_verdicts(failed, len(outcomes))
        asked = Asked(body, errand.options, errand.on_error)
        return Answer(msgspec.json.encode(errand.dialect.write(outcomes, asked)), whole=not failed)

    async def _rollouts(self, samples: Sequence[Sample], options: Knobs) -> list[Rollout]:
        """Every sample read and checked before the first is judged."""
        limit = _LISTS * self._settings.max_items
        if len(samples) > limit:
            raise TooLarge(f"{len(samples)} rollouts are more than {_LISTS} x max_items, {limit}")
        rollouts: list[Rollout] = []
        problems: list[ProblemDetail] = []
        turns = Turns()
        for sample in samples:
            try:
                rollouts.append(self._rollout(sample, options))
            except (EnvelopeError, InvalidRequest) as error:
                problems += error.details or (_unplaced(error),)
            await turns.yield_if_due()
        if problems:
            raise invalid(problems)
        return rollouts

    def _rollout(self, sample: Sample, options: Knobs) -> Rollout:
        self._refuse_long(len(sample.response))
        rollout = rollout_of(
            sample.places,
            response=unwrapped(sample.response, sample.prompt),
            prompt=sample.prompt,
            tool_output=sample.tool_output,
        )
        self._refuse_long(characters(rollout))
        self._pipeline.check(rollout, options)
        return rollout

    def _refuse_long(self, length: int) -> None:
        limit = self._settings.max_rollout_bytes
        if length > limit:
            raise TooLarge(f"a rollout of {length} characters is over max_rollout_bytes, {limit}")

    async def _outcomes(self, rollouts: Sequence[Rollout], errand: _Errand) -> list[Outcome]:
        tasks: list[asyncio.Task[Outcome]] = []
        async with asyncio.TaskGroup() as group:
            for position in range(len(rollouts)):
                tasks.append(group.create_task(self._outcome(rollouts[position], position, errand)))
                await asyncio.sleep(0)  # one start a turn, as for a batch
        return [task.result() for task in tasks]

    async def _outcome(self, rollout: Rollout, position: int, errand: _Errand) -> Outcome:
        knobs = Knobs.resolve(self._settings, errand.options, rollout)
        prompt = prompt_key(rollout, knobs, errand.options.run)
        reward: float | None = None
        self._standins.begin(prompt)
        try:
            result = await self._scored(rollout, position, errand)
            reward = result.reward
        finally:
            self._standins.end(prompt, reward)
        if reward is None and errand.on_error in _STANDING_IN:
            mean = await self._standins.await_mean(prompt, errand.deadline)
            reward = self._settings.fallback_reward if mean is None else mean
        return Outcome(result, reward)

    async def _scored(self, rollout: Rollout, position: int, errand: _Errand) -> ScoreResult:
        seated = not position or await _seated(errand)  # the first has the request's own seat
        try:
            # Without a seat the deadline has passed, which the pipeline will say.
            return await self._pipeline.score(
                rollout,
                request=errand.options,
                position=position,
                deadline=errand.deadline,
                origin=errand.origin,
            )
        finally:
            errand.seats.give(int(seated))


def _policy(dialect: Dialect, options: DialectOptions) -> OnError:
    """What a rollout without a verdict becomes, if this client can live with that."""
    if options.format not in dialect.forms:
        raise misshapen("format", f"cannot be {options.format!r} on {dialect.path}")
    chosen = options.on_error or dialect.on_error
    if chosen not in dialect.permits:
        permitted = ", ".join(sorted(dialect.permits))
        raise misshapen("on_error", f"cannot be {chosen!r} on {dialect.path}, only {permitted}")
    return chosen


def _key(dialect: Dialect, request: Request, origin: Origin, body: bytes) -> bytes:
    """A hash of all that decides the answer; only a re-post has the same."""
    state = hashlib.blake2b(digest_size=32)
    for part in (dialect.name.encode(), request.url.query.encode(), origin.caller.encode(), body):
        state.update(b"%d:" % len(part))
        state.update(part)
    return state.digest()


async def _seated(errand: _Errand) -> bool:
    """Wait for room for one more rollout; False where the deadline came first."""
    with suppress(TimeoutError):
        async with asyncio.timeout(errand.deadline - time.monotonic()):
            await errand.seats.wait()
            return True
    return False


async def _ended(work: Work) -> Answer | RequestError:
    """What comes of the work, a refusal as a value; whoever waits here does not own it."""
    try:
        return await asyncio.shield(work)
    except RequestError as error:
        return error


def _without_verdicts(failed: Sequence[Outcome], count: int) -> JudgeFailed:
    failure = failed[0].result.failure
    told = "" if failure is None else f"{failure.kind.value}: {failure.message}"
    return JudgeFailed(
        f"{len(failed)} of {count} rollouts have no verdict; the first: {told}",
        retry_after_s=_RETRY_AFTER_S,
    )


def _unplaced(error: Exception) -> ProblemDetail:
    return ProblemDetail(loc="body", message=str(error))
