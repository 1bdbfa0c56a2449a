"""Answers the bodies that trainers' clients post; `web.routes.trainers` does the HTTP."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter

from citemark_schemas import (
    EnvelopeError,
    Knobs,
    ProblemDetail,
    Rollout,
    ScoreResult,
    Source,
    rollout_of,
    unwrap_response,
)
from citemark_schemas.bulk import Bulky
from citemark_schemas.means import StandIns, prompt_key
from citemark_service.errors import InvalidRequest, JudgeFailed, TooLarge
from citemark_service.json_bodies import decode_object
from citemark_service.settings import Settings
from citemark_service.threads import INLINE, FairThreads
from citemark_service.trainers.route import Body, Outcome, Route, RouteOptions, bad_body

RETRY_AFTER_S: Final = 5.0
_LISTS: Final = 8  # times `max_items` in one request: older clients post a whole step at once
_RUNS_KEPT: Final = 256
_ENDS: Final = ("judged", "static_only", "refused", "fallback", "mask", "null", "http")

_log = logging.getLogger("citemark.dialects")

Score = Callable[[Rollout, int], Awaitable[ScoreResult]]
"""Scores a rollout, given its position in the request."""


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    body: bytes
    whole: bool
    """Whether no judge failed; otherwise a re-post is judged again."""


class RouteCounts:
    """Prometheus counters of trainers' routes; all label values exist from the start."""

    def __init__(self, registry: CollectorRegistry, routes: Sequence[Route]) -> None:
        names = [route.name for route in routes]

        def counter(name: str, text: str) -> dict[str, Counter]:
            whole = Counter(f"citemark_dialect_{name}", text, ("dialect",), registry=registry)
            return {name: whole.labels(name) for name in names}

        rollouts = Counter(
            "citemark_dialect_rollouts",
            "Rollouts answered in a trainer's protocol, by what came of them; static_only were "
            "judged without a rubric of their own.",
            ("dialect", "outcome"),
            registry=registry,
        )
        self.rollouts = {(name, end): rollouts.labels(name, end) for name in names for end in _ENDS}
        self.requests = counter("requests", "Requests in it.")
        self.bad_requests = counter("bad_requests", "Requests in it answered with 422.")
        self.reposts = counter("reposts", "Requests answered from a judgement whose client left.")


class TrainerEngine:
    """Answers the bodies of all routes, in one event loop; `check` is `Pipeline.check`."""

    def __init__(
        self,
        *,
        settings: Settings,
        check: Callable[[Rollout, Knobs], None],
        counts: RouteCounts,
        threads: FairThreads,
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._check = check
        self._counts = counts
        self._standins = StandIns()
        self._warned: OrderedDict[tuple[str, str | None], None] = OrderedDict()

    async def answer(
        self,
        route: Route,
        body: bytes,
        options: RouteOptions,
        deadline: float,
        score: Score,
        *,
        caller: str,
    ) -> RouteAnswer:
        """Parse and check all rollouts of a body, then judge them.

        Args:
            caller: whose share of the threads parses a large body.
            options: those that `settle_options` returned.
            deadline: `time.monotonic()` until which a fallback waits for other rollouts.

        Raises:
            InvalidRequest: the details name each place and field.
            TooLarge: a rollout, or the number of rollouts.
            JudgeFailed: a judge failed and `on_error` is `http`.
        """
        parse = partial(self._parse_body, route, body, options)
        large = len(body) > INLINE
        sent, rollouts = await self._threads.run(caller, parse) if large else parse()
        self._warn_static_only(route, rollouts, options.run)

        async def judge(rollout: Rollout, position: int) -> Outcome:
            knobs = Knobs.resolve(self._settings, options, rollout)
            prompt = prompt_key(rollout, knobs, options.run)
            reward: float | None = None
            # Failed siblings wait for the mean until every rollout of the prompt that began ends.
            self._standins.begin(prompt)
            try:
                result = await score(rollout, position)
                reward = result.reward
            finally:
                self._standins.end(prompt, reward)
            if reward is None and options.on_error in ("fallback", "mask"):
                mean = await self._standins.await_mean(prompt, deadline)
                reward = self._settings.fallback_reward if mean is None else mean
            masked = result.failure is not None and options.on_error == "mask"
            return Outcome(result, reward, masked)

        tasks: list[asyncio.Task[Outcome]] = []
        async with asyncio.TaskGroup() as group:
            for position, rollout in enumerate(rollouts):
                tasks.append(group.create_task(judge(rollout, position)))
                await asyncio.sleep(0)  # one start a turn, so that a large body blocks nobody
        outcomes = [task.result() for task in tasks]
        for outcome in outcomes:
            self._counts.rollouts[route.name, _end_of(outcome, options)].inc()
        failures = [each.result.failure for each in outcomes if each.result.failure is not None]
        if failures and options.on_error == "http":
            raise JudgeFailed(
                f"{len(failures)} of {len(outcomes)} rollouts have no verdict; the first: "
                f"{failures[0].kind.value}: {failures[0].message}",
                retry_after_s=RETRY_AFTER_S,
            )
        answer = route.write(outcomes, sent)
        if options.format == "scalar":
            answer = answer["reward"]
        return RouteAnswer(msgspec.json.encode(answer), whole=not failures)

    def _parse_body(
        self, route: Route, body: bytes, options: RouteOptions
    ) -> tuple[Body, list[Rollout]]:
        sent = decode_object(body)
        try:
            posted = route.read(sent)
        except Bulky as error:
            raise bad_body("body", str(error)) from error
        limit = _LISTS * self._settings.max_items
        if len(posted) > limit:
            raise TooLarge(f"{len(posted)} rollouts are more than {_LISTS} x max_items, {limit}")
        rollouts: list[Rollout] = []
        problems: list[ProblemDetail] = []
        for each in posted:
            try:
                # Before parsing, which takes time; the other texts are only known after it.
                self._refuse_long(len(each.response))
                rollout = rollout_of(
                    each.places,
                    response=unwrap_response(each.response, each.prompt),
                    prompt=each.prompt,
                    tool_output=each.tool_output,
                    ignored_rubric_keys=self._settings.ignored_rubric_keys,
                )
                rubrics = sum(len(criterion.description) for criterion in rollout.criteria)
                self._refuse_long(rollout.characters + rubrics)
                self._check(rollout, options)
                rollouts.append(rollout)
            except (EnvelopeError, InvalidRequest) as error:
                problems += error.details or (ProblemDetail(loc="body", message=str(error)),)
        if problems:
            raise InvalidRequest.of(problems)
        return sent, rollouts

    def _refuse_long(self, length: int) -> None:
        limit = self._settings.max_rollout_bytes
        if length > limit:
            raise TooLarge(f"a rollout of {length} characters is over max_rollout_bytes, {limit}")

    def _warn_static_only(self, route: Route, rollouts: Sequence[Rollout], run: str | None) -> None:
        # Permitted and invisible in rewards, but nearly always the trainer was not told of the
        # label column. Logged once per run and route.
        bare = [rollout for rollout in rollouts if not rollout.criteria]
        named = (bare[0].run or run) if bare else None
        if not bare or (route.name, named) in self._warned:
            return
        self._warned[route.name, named] = None
        if len(self._warned) > _RUNS_KEPT:  # clients name runs freely, so bound what is stored
            self._warned.popitem(last=False)
        _log.warning(
            "%s: %d of %d rollouts%s bring no rubrics, so that the static set alone judges "
            "them; `citemark doctor --trainer` names such rows (said once a run)",
            route.path,
            len(bare),
            len(rollouts),
            "" if named is None else f" of run {named!r}",
        )


def _end_of(outcome: Outcome, options: RouteOptions) -> str:
    """The metric label of an outcome, one of `_ENDS`; `on_error` if the judge failed."""
    result = outcome.result
    if outcome.failed:
        return str(options.on_error)
    if result.refusal is not None:
        return "refused"
    own = any(rubric.source is Source.INSTANCE for rubric in result.rubrics)
    return "judged" if own else "static_only"
