"""The HTTP client of the reward service: rollouts in, results out, order kept.

One owner for everything between the trainer and the service: batches, parallelism, retries and
the deadline. What may go wrong is drawn in `errors`.
"""

import asyncio
import email.utils
import functools
import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Self

import httpx
from anyio.from_thread import start_blocking_portal
from pydantic import ValidationError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from citemark_grpo.address import address_of
from citemark_grpo.batches import Batch, RolloutLike, cut, parcels
from citemark_grpo.errors import (
    Broken,
    Overloaded,
    Refused,
    ScoreError,
    TimedOut,
    Unreachable,
    Unreadable,
)
from citemark_schemas import Knobs, Problem, ScoreResponse, ScoreResult

_LOG = logging.getLogger("citemark_grpo")
_MIB = 1024 * 1024
_BACKOFF = wait_random_exponential(multiplier=0.5, max=15)
_ITEM_INDEX = re.compile(r"^items\[(\d{1,9})\]")
_TELL_EVERY = 5
_ADVICE = {
    401: "no token, or a wrong one; set CITEMARK_API_TOKEN where the client runs",
    404: "is the client's URL the root of a Citemark?",
}
"""What the client's own settings are the likeliest cause of."""
# Below the 5 s after which uvicorn closes an idle connection, so that we never write into one.
_KEEPALIVE_S = 4.0


def _pause(state: RetryCallState) -> float:
    """Seconds to the next attempt: what the service asked for, plus jitter that widens."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after_s if isinstance(error, Overloaded) else None
    return (asked or 0.0) + _BACKOFF(state)


def _tell(state: RetryCallState) -> None:
    """Let the log show what a trainer that stands still is waiting for."""
    if state.outcome is not None and state.attempt_number % _TELL_EVERY == 0:
        tries, error = state.attempt_number, state.outcome.exception()
        _LOG.warning("still no answer after %d tries, trying on: %s", tries, error)


def _retry_after_s(response: httpx.Response) -> float | None:
    """Retry-After in seconds; it may be given as a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _problem(response: httpx.Response, start: int) -> Problem:
    """The problem that a 4xx carries, its item numbers counted in the caller's sequence."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return Problem(error="http_error", message=f"the service answered {response.status_code}")
    details = tuple(
        detail.model_copy(
            update={
                "loc": _ITEM_INDEX.sub(lambda m: f"items[{int(m[1]) + start}]", detail.loc),
            }
        )
        for detail in problem.details
    )
    return problem.model_copy(update={"details": details})


def _refuse_status(response: httpx.Response, start: int) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    if status in (429, 503):
        raise Overloaded(f"the service answered {status}", retry_after_s=_retry_after_s(response))
    if status in (502, 504):
        raise Unreachable(f"a gateway answered {status}")
    if status >= 500:
        raise Broken(f"the service answered {status}")
    if status < 400:
        raise Unreadable(f"the service answered {status}, which is no score response")
    problem = _problem(response, start)
    advice = _ADVICE.get(status)
    if advice is not None:
        told = f"{response.url} answered {status}: {advice}"
        problem = Problem(error=problem.error, message=told)
    raise Refused(problem, status=status)


def _results(response: httpx.Response, batch: Batch) -> tuple[ScoreResult, ...]:
    try:
        items = ScoreResponse.model_validate_json(response.content).items
    except ValidationError as error:
        raise Unreadable("the answer is no score response") from error
    if tuple(item.id for item in items) != batch.ids:
        raise Unreadable("the answer's ids are not those that were sent, in their order")
    return items


def _body(batch: Batch, knobs: Knobs | None, deadline_s: float) -> bytes:
    """A `ScoreRequest` put together from parcels that are JSON already."""
    rest = (knobs or Knobs()).model_dump_json(exclude_unset=True)[1:]
    comma = b"" if rest == "}" else b","
    items = b",".join(parcel.body for parcel in batch.parcels)
    return b'{"items":[%b],"deadline_s":%.3f%b%b' % (items, deadline_s, comma, rest.encode())


class ScoreClient:
    """Scores rollouts over one connection pool; safe for concurrent calls on its own event loop.

        async with ScoreClient("http://127.0.0.1:8000") as client:
            results = await client.score(rollouts, Knobs(verification_reward=10.0))

    Args:
        url: The service's root, without `/v1`; a token in it, as `/t/TOKEN` or `?token=TOKEN`,
            is sent as a header instead, and stands in no error.
        timeout_s: For one HTTP call, > 0.
        deadline_s: For one `score` with all its batches and retries, where the call names none.
        attempts: HTTP calls per batch, the first included, >= 1.
        parallel: Batches in flight, >= 1; further ones wait for a place.
        batch_items: Rollouts in one batch at most. Small batches lose little to a retry.
        batch_bytes: Bytes of rollouts in one batch at most; a larger one travels alone.
        headers: Sent with every call, for a gateway that asks for them; win over the URL's token.

    Raises:
        ValueError: `url` is none that could be called.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 300.0,
        deadline_s: float = 900.0,
        attempts: int = 6,
        parallel: int = 16,
        batch_items: int = 16,
        batch_bytes: int = 8 * _MIB,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        address = address_of(url)
        bearer = {} if address.token is None else {"authorization": f"Bearer {address.token}"}
        self._url = address.root
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._attempts = attempts
        self._parallel = parallel
        self._cut = functools.partial(cut, max_items=batch_items, max_bytes=batch_bytes)
        self._headers = httpx.Headers({"content-type": "application/json", **bearer})
        self._headers.update(headers)
        self._places = asyncio.Semaphore(parallel)
        self._http: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        if self._http is not None:
            raise RuntimeError("this ScoreClient is open already")
        limits = httpx.Limits(max_connections=self._parallel, keepalive_expiry=_KEEPALIVE_S)
        timeout = httpx.Timeout(self._timeout_s, pool=None)
        self._http = httpx.AsyncClient(limits=limits, timeout=timeout, headers=self._headers)
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def score(
        self,
        rollouts: Sequence[RolloutLike],
        knobs: Knobs | None = None,
        deadline_s: float | None = None,
    ) -> list[ScoreResult]:
        """One result for each rollout, in order; see `ScoreResult` for what a failure looks like.

        Args:
            rollouts: `Rollout`s, or mappings of their fields. One without an id gets its index.
            knobs: Hold for every rollout that does not set its own; only fields that were set.
            deadline_s: Seconds for everything, > 0. The service is told a little less, so that
                what it could not judge in time comes back as `deadline_exceeded`, and the rest
                with rewards.

        Raises:
            ScoreError: a batch got no results; the error is the first such batch's, and its
                `scored` holds what the other batches got.
        """
        http = self._opened()
        ends_at = time.monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        batches = list(self._cut(parcels(rollouts)))
        outcomes = await asyncio.gather(
            *(self._outcome(http, batch, knobs, ends_at) for batch in batches)
        )
        return _joined(batches, outcomes)

    def _opened(self) -> httpx.AsyncClient:
        if self._http is None:
            raise RuntimeError("open the ScoreClient first: async with ScoreClient(url) as client")
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("this ScoreClient was opened on another event loop")
        return self._http

    async def _outcome(
        self, http: httpx.AsyncClient, batch: Batch, knobs: Knobs | None, ends_at: float
    ) -> tuple[ScoreResult, ...] | ScoreError:
        """A batch's error is a value here, so that it does not cancel its neighbours."""
        try:
            async with asyncio.timeout(ends_at - time.monotonic()), self._places:
                return await self._retried(http, batch, knobs, ends_at)
        except TimeoutError:
            return TimedOut("the deadline passed before the service answered")
        except ScoreError as error:
            return error

    async def _retried(
        self, http: httpx.AsyncClient, batch: Batch, knobs: Knobs | None, ends_at: float
    ) -> tuple[ScoreResult, ...]:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((Unreachable, Overloaded)),
            stop=stop_after_attempt(self._attempts)
            | stop_before_delay(max(0.0, ends_at - time.monotonic())),
            wait=_pause,
            before_sleep=_tell,
            reraise=True,
        )
        results: tuple[ScoreResult, ...] = await retrying(self._called, http, batch, knobs, ends_at)
        return results

    async def _called(
        self, http: httpx.AsyncClient, batch: Batch, knobs: Knobs | None, ends_at: float
    ) -> tuple[ScoreResult, ...]:
        left_s = min(self._timeout_s, ends_at - time.monotonic())
        body = _body(batch, knobs, max(0.001, left_s - min(2.0, left_s / 10)))
        try:
            # httpx bounds each read, not their sum: a slow drip would never end.
            async with asyncio.timeout(left_s):
                response = await http.post(f"{self._url}/v1/score", content=body)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise TimedOut(f"no answer within {left_s:.1f} s") from error
        except httpx.RequestError as error:
            raise Unreachable(f"{self._url}: {error or type(error).__name__}") from error
        _refuse_status(response, batch.start)
        return _results(response, batch)


def _joined(
    batches: Sequence[Batch], outcomes: Sequence[tuple[ScoreResult, ...] | ScoreError]
) -> list[ScoreResult]:
    scored: list[ScoreResult] = []
    partial: list[ScoreResult | None] = []
    errors: list[ScoreError] = []
    for batch, outcome in zip(batches, outcomes, strict=True):
        if isinstance(outcome, ScoreError):
            errors.append(outcome)
            partial.extend([None] * len(batch.parcels))
        else:
            scored.extend(outcome)
            partial.extend(outcome)
    if errors:
        errors[0].scored = partial
        raise errors[0]
    return scored


def score(
    url: str,
    rollouts: Sequence[RolloutLike],
    knobs: Knobs | None = None,
    *,
    deadline_s: float | None = None,
    timeout_s: float = 300.0,
    attempts: int = 6,
) -> list[ScoreResult]:
    """`ScoreClient.score` for scripts: blocks until the results are there.

    Its event loop lives in a thread of its own, so it works with or without a running loop in
    the caller's thread (a running one stands still meanwhile). Raises `ScoreError`, and
    `ValueError` where `url` is none that could be called.
    """

    async def scored() -> list[ScoreResult]:
        async with ScoreClient(url, timeout_s=timeout_s, attempts=attempts) as client:
            return await client.score(rollouts, knobs, deadline_s)

    with start_blocking_portal() as portal:
        return portal.call(scored)
