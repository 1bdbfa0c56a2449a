"""Rollouts that arrive one by one, gathered into few calls."""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from citemark_grpo.client import ScoreClient
from citemark_grpo.errors import Broken, Overloaded, Refused, ScoreError, TimedOut, Unreadable
from citemark_grpo.outcome import Outcome, Score, reward_of, shortfall
from citemark_schemas import Knobs, Problem, ProblemDetail, Rollout
from citemark_schemas.means import StandIns, prompt_key

_LOG = logging.getLogger("citemark_grpo")
_ITEM = re.compile(r"^items\[(\d{1,9})\]\.?")
_ABOUT_CONTENT = (400, 413, 422)


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    """A waiting rollout; cancelling `outcome` withdraws it."""

    rollout: Rollout
    ends_at: float
    outcome: asyncio.Future[Outcome]


class Gatherer:
    """Sends what arrives within `gather_s` as one batch; all calls are on one event loop.

    Args:
        client: Open on this event loop.
        batch_items: Maximum size of a batch, >= 1; a full one is sent at once.
        gather_s: How long the first rollout of a batch waits for others, >= 0.
        max_waiting: Bound of waiting rollouts; a call that exceeds it is `Overloaded`.
    """

    def __init__(
        self, client: ScoreClient, *, batch_items: int, gather_s: float, max_waiting: int
    ) -> None:
        self._client = client
        self._batch_items = batch_items
        self._gather_s = gather_s
        self._max_waiting = max_waiting
        self._stand_ins = StandIns()
        self._warned_of_bare_rows = False
        self._held = 0
        self._gathered: list[_Ticket] = []
        self._leaves: asyncio.TimerHandle | None = None
        self._calls = set[asyncio.Task[list[Outcome]]]()

    async def outcomes(self, rollouts: Sequence[Rollout], deadline_s: float) -> list[Outcome]:
        """One outcome for each rollout, in order, within `deadline_s` seconds."""
        if not rollouts:
            return []
        # A single large call is let through: its caller holds all its rollouts already.
        if self._held and self._held + len(rollouts) > self._max_waiting:
            full = Overloaded(f"{self._held} rollouts wait in this process already")
            _log_shortfalls([full] * len(rollouts), len(rollouts))
            return [full] * len(rollouts)
        ends_at = time.monotonic() + deadline_s
        tickets = [self._enqueue(rollout, ends_at) for rollout in rollouts]
        try:
            await asyncio.wait([ticket.outcome for ticket in tickets], timeout=deadline_s)
        finally:
            # What is late, or all of it where the caller was cancelled.
            for ticket in tickets:
                ticket.outcome.cancel()
        late = TimedOut("the deadline passed before the service answered")
        outcomes = [late if t.outcome.cancelled() else t.outcome.result() for t in tickets]
        _log_shortfalls([each for each in outcomes if each is late], len(tickets))
        return outcomes

    async def scores(
        self, rollouts: Sequence[Rollout], deadline_s: float, fallback: float
    ) -> list[Score]:
        """`outcomes` as numbers: a missing reward is the mean of its prompt's, else `fallback`.

        A sample without a reward waits for the samples of its prompt that are being judged.
        """
        ends_at = time.monotonic() + deadline_s
        outcomes = await self.outcomes(rollouts, deadline_s)

        async def to_score(rollout: Rollout, outcome: Outcome) -> Score:
            reward = reward_of(outcome)
            if reward is None:
                reward = await self._stand_ins.await_mean(_prompt_of(rollout), ends_at)
            return Score(fallback if reward is None else reward, outcome)

        return await asyncio.gather(*map(to_score, rollouts, outcomes))

    def _enqueue(self, rollout: Rollout, ends_at: float) -> _Ticket:
        loop = asyncio.get_running_loop()
        ticket = _Ticket(rollout, ends_at, loop.create_future())
        prompt = _prompt_of(rollout)
        self._held += 1
        self._stand_ins.begin(prompt)
        ticket.outcome.add_done_callback(partial(self._release, prompt))
        self._gathered.append(ticket)
        if len(self._gathered) >= self._batch_items:
            self._send()
        elif self._leaves is None:
            self._leaves = loop.call_later(self._gather_s, self._send)
        return ticket

    def _release(self, prompt: bytes, done: asyncio.Future[Outcome]) -> None:
        self._held -= 1
        broken = done.cancelled() or done.exception() is not None
        self._stand_ins.end(prompt, None if broken else reward_of(done.result()))

    def _send(self) -> None:
        tickets = [ticket for ticket in self._gathered if not ticket.outcome.done()]
        self._gathered.clear()
        if self._leaves is not None:
            self._leaves.cancel()
            self._leaves = None
        if not tickets:
            return
        call = asyncio.create_task(self._judge(tickets))
        self._calls.add(call)  # the event loop has only a weak reference to it
        call.add_done_callback(lambda done: _settle(tickets, done))
        call.add_done_callback(self._calls.discard)
        # Once every rollout has its outcome or was withdrawn, the call has no use.
        everyone = asyncio.gather(*(each.outcome for each in tickets), return_exceptions=True)
        everyone.add_done_callback(lambda _: call.cancel())

    async def _judge(self, tickets: Sequence[_Ticket]) -> list[Outcome]:
        rollouts = [ticket.rollout for ticket in tickets]
        bare = sum(not rollout.criteria for rollout in rollouts)
        if bare and not self._warned_of_bare_rows:
            # A reward does not show that the row's rubrics were lost on the way.
            self._warned_of_bare_rows = True
            _LOG.warning(
                "%d of %d rollouts bring no rubrics, so that the static set alone judges them; "
                "`citemark doctor --trainer` names such rows (said once)",
                bare,
                len(rollouts),
            )
        # The latest deadline: `outcomes` ends the wait for each rollout by its own.
        outcomes = await self._score(rollouts, max(ticket.ends_at for ticket in tickets))
        _log_shortfalls(outcomes, len(outcomes))
        return outcomes

    async def _score(self, rollouts: Sequence[Rollout], ends_at: float) -> list[Outcome]:
        """Score all in one call; where some rollouts make it fail, score the rest again."""
        try:
            return [*await self._client.score(rollouts, deadline_s=ends_at - time.monotonic())]
        except ScoreError as error:
            # `scored` is empty where nothing was sent.
            scored = list(error.scored) or [None] * len(rollouts)
            outcomes: list[Outcome] = [error if each is None else each for each in scored]
            for place, blamed in _blame(error).items():
                outcomes[place] = blamed
            parts = _parts_to_retry(outcomes, error) if ends_at > time.monotonic() else []
        answers = await asyncio.gather(
            *(self._score([rollouts[place] for place in part], ends_at) for part in parts)
        )
        for part, answer in zip(parts, answers, strict=True):
            for place, outcome in zip(part, answer, strict=True):
                outcomes[place] = outcome
        return outcomes


def _prompt_of(rollout: Rollout) -> bytes:
    # Without the service's own knobs, which are the same for all rollouts.
    return prompt_key(rollout, Knobs.resolve(rollout))


def _blame(error: ScoreError) -> Mapping[int, Refused]:
    """The rollouts that a refusal names, by index, each with its own error."""
    details: dict[int, list[ProblemDetail]] = {}
    for detail in error.problem.details if isinstance(error, Refused) else ():
        if item := _ITEM.match(detail.loc):
            loc = detail.loc[item.end() :] or "rollout"
            details.setdefault(int(item[1]), []).append(detail.model_copy(update={"loc": loc}))
    kind, message = "invalid_request", "the rollout is invalid"
    return {
        place: Refused(Problem(error=kind, message=message, details=tuple(each)))
        for place, each in details.items()
    }


def _parts_to_retry(outcomes: Sequence[Outcome], error: ScoreError) -> list[list[int]]:
    """Indices to score again after a call raised `error`, one list for each new call."""
    places = [place for place, outcome in enumerate(outcomes) if outcome is error]
    if not places or len(outcomes) == 1:
        return []
    if len(places) < len(outcomes) and isinstance(error, Refused):
        return [places]  # without those that the refusal named
    # Neither of these names a rollout, so each is scored alone to find the bad one.
    poisoned = isinstance(error, Broken | Unreadable)
    refused = isinstance(error, Refused) and error.status in _ABOUT_CONTENT
    return [[place] for place in places] if poisoned or refused else []


def _settle(tickets: Sequence[_Ticket], call: asyncio.Task[list[Outcome]]) -> None:
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


def _log_shortfalls(outcomes: Sequence[Outcome], total: int) -> None:
    reasons = Counter(reason for outcome in outcomes if (reason := shortfall(outcome)))
    for reason, count in reasons.items():
        _LOG.error("%d of %d rollouts have no reward: %s", count, total, reason)
