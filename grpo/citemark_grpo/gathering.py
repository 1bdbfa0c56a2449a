"""Rollouts that arrive one by one, gathered into few calls. Lives on one event loop."""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from citemark_grpo.client import ScoreClient
from citemark_grpo.errors import Broken, Overloaded, Refused, ScoreError, TimedOut, Unreadable
from citemark_grpo.outcome import Outcome, Score, reward_of, shortfall
from citemark_schemas import FailureKind, Knobs, Problem, ProblemDetail, Rollout, ScoreResult
from citemark_schemas.means import StandIns, prompt_key

_LOG = logging.getLogger("citemark_grpo")
_ITEM = re.compile(r"^items\[(\d{1,9})\]\.?")
_ABOUT_CONTENT = (400, 413, 422)
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    """A rollout that waits for its outcome; who asked may stop waiting by cancelling it."""

    rollout: Rollout
    ends_at: float
    outcome: asyncio.Future[Outcome]


class Gatherer:
    """Sends what arrives within `gather_s` as one batch; a batch that nobody waits for is taken
    back.

    Args:
        client: Open on this event loop. Retries and parallelism are its business.
        batch_items: Rollouts in one batch at most, >= 1; so many leave at once.
        gather_s: How long the first of a batch waits for others, >= 0.
        max_waiting: Rollouts that may wait at once; a call that would make them more is
            `Overloaded`, unless it is the only one.
    """

    def __init__(
        self, client: ScoreClient, *, batch_items: int, gather_s: float, max_waiting: int
    ) -> None:
        self._client = client
        self._batch_items = batch_items
        self._gather_s = gather_s
        self._max_waiting = max_waiting
        self._stand_ins = StandIns()
        self._told_static_only = False
        self._held = 0
        self._gathered: list[_Ticket] = []
        self._leaves: asyncio.TimerHandle | None = None
        self._calls = set[asyncio.Task[list[Outcome]]]()

    async def outcomes(self, rollouts: Sequence[Rollout], deadline_s: float) -> list[Outcome]:
        """One outcome for each rollout, in order, within `deadline_s` seconds."""
        if not rollouts:
            return []
        # A call that nobody waits before is no queue: what it brings, its caller holds already.
        if self._held and self._held + len(rollouts) > self._max_waiting:
            full = Overloaded(f"{self._held} rollouts wait in this process already")
            _announce([full] * len(rollouts), len(rollouts))
            return [full] * len(rollouts)
        ends_at = time.monotonic() + deadline_s
        tickets = [self._ticket(rollout, ends_at) for rollout in rollouts]
        try:
            await asyncio.wait([ticket.outcome for ticket in tickets], timeout=deadline_s)
        finally:
            for ticket in tickets:
                ticket.outcome.cancel()
        late = [_told(ticket.outcome) for ticket in tickets if ticket.outcome.cancelled()]
        _announce(late, len(tickets))
        return [_told(ticket.outcome) for ticket in tickets]

    async def scores(
        self, rollouts: Sequence[Rollout], deadline_s: float, fallback: float
    ) -> list[Score]:
        """`outcomes`, with the mean of the prompt's rewards, else `fallback`, where one has none.

        A sample that has none waits for what else of its prompt is being judged.
        """
        ends_at = time.monotonic() + deadline_s
        outcomes = await self.outcomes(rollouts, deadline_s)
        means = await asyncio.gather(
            *(self._mean(*each, ends_at) for each in zip(rollouts, outcomes, strict=True))
        )
        return [
            Score(fallback if mean is None else mean, outcome)
            for mean, outcome in zip(means, outcomes, strict=True)
        ]

    async def _mean(self, rollout: Rollout, outcome: Outcome, ends_at: float) -> float | None:
        reward = reward_of(outcome)
        if reward is not None:
            return reward
        return await self._stand_ins.await_mean(_prompt_of(rollout), ends_at)

    def _ticket(self, rollout: Rollout, ends_at: float) -> _Ticket:
        ticket = _Ticket(rollout, ends_at, asyncio.get_running_loop().create_future())
        prompt = _prompt_of(rollout)
        self._held += 1
        self._stand_ins.begin(prompt)
        ticket.outcome.add_done_callback(lambda done: self._release(prompt, done))
        self._gathered.append(ticket)
        if len(self._gathered) >= self._batch_items:
            self._send()
        elif self._leaves is None:
            self._leaves = asyncio.get_running_loop().call_later(self._gather_s, self._send)
        return ticket

    def _release(self, prompt: bytes, done: asyncio.Future[Outcome]) -> None:
        self._held -= 1
        broken = done.cancelled() or done.exception() is not None
        self._stand_ins.end(prompt, None if broken else reward_of(done.result()))

    def _send(self) -> None:
        """Send off what has gathered, less those who left meanwhile."""
        tickets = [ticket for ticket in self._gathered if not ticket.outcome.done()]
        self._gathered.clear()
        if self._leaves is not None:
            self._leaves.cancel()
            self._leaves = None
        if not tickets:
            return
        call = asyncio.create_task(self._answered(tickets))
        self._calls.add(call)
        call.add_done_callback(lambda done: _settle(tickets, done))
        call.add_done_callback(self._calls.discard)
        everyone = asyncio.gather(*(each.outcome for each in tickets), return_exceptions=True)
        everyone.add_done_callback(lambda _: call.cancel())

    async def _answered(self, tickets: Sequence[_Ticket]) -> list[Outcome]:
        ends_at = max(ticket.ends_at for ticket in tickets)
        rollouts = [ticket.rollout for ticket in tickets]
        self._tell_static_only(rollouts)
        outcomes = await self._judged(rollouts, ends_at)
        _announce(outcomes, len(outcomes))
        return outcomes

    def _tell_static_only(self, rollouts: Sequence[Rollout]) -> None:
        """Once: nothing in a reward would tell that the row's rubrics never got here."""
        bare = sum(not rollout.criteria for rollout in rollouts)
        if bare and not self._told_static_only:
            self._told_static_only = True
            _LOG.warning(
                "%d of %d rollouts bring no rubrics, so that the static set alone judges them; "
                "`citemark doctor --trainer` names such rows (said once)",
                bare,
                len(rollouts),
            )

    async def _judged(self, rollouts: Sequence[Rollout], ends_at: float) -> list[Outcome]:
        """Ask for all; where some spoil it for the others, or the service stops, ask again."""
        try:
            left_s = ends_at - time.monotonic()
            outcomes: list[Outcome] = [*await self._client.score(rollouts, deadline_s=left_s)]
        except ScoreError as error:
            outcomes = _divided(error, len(rollouts))
            parts = _apart(outcomes, error)
        else:
            parts = _unstarted(outcomes)
            await asyncio.sleep(_PAUSE_S if parts and ends_at - time.monotonic() > _PAUSE_S else 0)
        if ends_at - time.monotonic() <= 0:
            return outcomes
        answers = await asyncio.gather(
            *(self._judged([rollouts[place] for place in part], ends_at) for part in parts)
        )
        for part, answered in zip(parts, answers, strict=True):
            for place, answer in zip(part, answered, strict=True):
                outcomes[place] = answer
        return outcomes


def _prompt_of(rollout: Rollout) -> bytes:
    """By the knobs that this client sends: the service's own are the same for all."""
    return prompt_key(rollout, Knobs.resolve(rollout))


def _divided(error: ScoreError, count: int) -> list[Outcome]:
    """What a call brought that raised: results, rollouts that the error names, and the error."""
    scored = list(error.scored) or [None] * count
    outcomes: list[Outcome] = [error if result is None else result for result in scored]
    for place, blamed in _blamed(error).items():
        outcomes[place] = blamed
    return outcomes


def _unstarted(outcomes: Sequence[Outcome]) -> list[list[int]]:
    """What a stopping service sent back, to be asked of the one that follows it."""
    stopped = [
        place
        for place, outcome in enumerate(outcomes)
        if isinstance(outcome, ScoreResult)
        and outcome.failure is not None
        and outcome.failure.kind is FailureKind.SHUTTING_DOWN
    ]
    return [stopped] if stopped else []


def _blamed(error: ScoreError) -> dict[int, Refused]:
    """The rollouts that a refusal names, each with what it says of them."""
    found: dict[int, list[ProblemDetail]] = {}
    for detail in error.problem.details if isinstance(error, Refused) else ():
        if item := _ITEM.match(detail.loc):
            loc = detail.loc[item.end() :] or "rollout"
            found.setdefault(int(item[1]), []).append(detail.model_copy(update={"loc": loc}))
    return {place: _invalid(details) for place, details in found.items()}


def _invalid(details: Sequence[ProblemDetail]) -> Refused:
    problem = Problem(
        error="invalid_request", message="the rollout is invalid", details=tuple(details)
    )
    return Refused(problem)


def _apart(outcomes: Sequence[Outcome], error: ScoreError) -> list[list[int]]:
    """Whom to ask about again, and with whom, after a call raised; empty where it is no use."""
    places = [place for place, outcome in enumerate(outcomes) if outcome is error]
    if not places or len(outcomes) == 1:
        return []
    if len(places) < len(outcomes) and isinstance(error, Refused):
        return [places]
    poisoned = isinstance(error, Broken | Unreadable)
    refused = isinstance(error, Refused) and error.status in _ABOUT_CONTENT
    return [[place] for place in places] if poisoned or refused else []


def _settle(tickets: Sequence[_Ticket], call: asyncio.Task[list[Outcome]]) -> None:
    """Hand each ticket its outcome, or the defect that ended the call."""
    defect = None if call.cancelled() else call.exception()
    for place, ticket in enumerate(tickets):
        if ticket.outcome.done():
            continue
        if call.cancelled():
            ticket.outcome.cancel()
        elif defect is not None:
            ticket.outcome.set_exception(defect)
        else:
            ticket.outcome.set_result(call.result()[place])


def _told(outcome: asyncio.Future[Outcome]) -> Outcome:
    if outcome.cancelled():
        return TimedOut("the deadline passed before the service answered")
    return outcome.result()


def _announce(outcomes: Sequence[Outcome], total: int) -> None:
    """One line for each reason why some of `total` rollouts have no reward, whatever the trainer
    makes of it."""
    reasons = Counter(reason for outcome in outcomes if (reason := shortfall(outcome)))
    for reason, count in reasons.items():
        _LOG.error("%d of %d rollouts have no reward: %s", count, total, reason)
