"""The HTTP client of the reward service: batches, parallelism, retries and the deadline."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Self, TypeVar

import httpx
from anyio.from_thread import start_blocking_portal
from pydantic import ValidationError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    stop_never,
    wait_random_exponential,
)

from citemark_grpo.address import parse_address
from citemark_grpo.batches import Parcel, RolloutLike, cut, pack
from citemark_grpo.errors import (
    Broken,
    Overloaded,
    Refused,
    ScoreError,
    TimedOut,
    Unreachable,
    Unreadable,
)
from citemark_grpo.settings import trusts_env
from citemark_schemas import FailureKind, Knobs, Problem, ScoreResponse, ScoreResult
from citemark_schemas.retry_after import parse_retry_after

_Got = TypeVar("_Got")

_LOG = logging.getLogger("citemark_grpo")
_MIB = 1024 * 1024
_ITEM_INDEX = re.compile(r"^items\[(\d{1,9})\]")
_LOG_EVERY = 5  # attempts
_STOPPING_PAUSE_S = 1.0
_GET_S = 10.0
# The likeliest cause in the client's own settings, by status.
_ADVICE = {
    401: "no token, or a wrong one; set CITEMARK_API_TOKEN where the client runs",
    404: "is the client's URL the root of a Citemark?",
}
# Below the 5 s after which uvicorn closes an idle connection, so that we never write into one.
_KEEPALIVE_S = 4.0


async def await_service(
    call: Callable[[], Awaitable[_Got]],
    *,
    timeout_s: float,
    attempts: int | None = None,
    max_pause_s: float = 15.0,
) -> _Got:
    """Retry `call` while it raises `Unreachable` or `Overloaded`; raises the last attempt's error.

    Each pause is the answer's Retry-After plus jitter that grows to `max_pause_s`.

    Args:
        timeout_s: No pause begins that would end after so many seconds.
        attempts: Maximum, the first included; None for as many as `timeout_s` allows, with a log
            line at every fifth.
    """
    backoff = wait_random_exponential(multiplier=0.5, max=max_pause_s)

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return (getattr(error, "retry_after_s", None) or 0.0) + backoff(state)

    def log(state: RetryCallState) -> None:
        if attempts is None and state.outcome and state.attempt_number % _LOG_EVERY == 0:
            tries, error = state.attempt_number, state.outcome.exception()
            _LOG.warning("still no answer after %d tries, trying on: %s", tries, error)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type((Unreachable, Overloaded)),
        stop=(stop_never if attempts is None else stop_after_attempt(attempts))
        | stop_before_delay(max(0.0, timeout_s)),
        wait=pause,
        before_sleep=log,
        reraise=True,
    )
    got: _Got = await retrying(call)
    return got


class ScoreClient:
    """Scores rollouts over one connection pool; concurrent calls on its event loop are safe.

        async with ScoreClient("http://127.0.0.1:8000") as client:
            results = await client.score(rollouts, Knobs(verification_reward=10.0))

    Args:
        url: The service's root, without `/v1`. A token in it (see `parse_address`) is sent as a
            header and appears in no error.
        timeout_s: For one HTTP call, > 0.
        deadline_s: Default for one `score`, with all its batches and retries.
        attempts: HTTP calls per batch, the first included, >= 1; None leaves it to the deadline.
        parallel: Maximum of batches in flight, >= 1.
        batch_items: Maximum of rollouts in a batch; small batches lose little to a retry.
        batch_bytes: Maximum size of a batch; a larger rollout is sent alone.
        headers: Sent with every call; they win over the URL's token.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 300.0,
        deadline_s: float = 900.0,
        attempts: int | None = 6,
        parallel: int = 16,
        batch_items: int = 16,
        batch_bytes: int = 8 * _MIB,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        address = parse_address(url)
        bearer = {} if address.token is None else {"authorization": f"Bearer {address.token}"}
        self.root = address.root
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._attempts = attempts
        self._parallel = parallel
        self._batch_items = batch_items
        self._batch_bytes = batch_bytes
        self._headers = httpx.Headers({"content-type": "application/json", **bearer})
        self._headers.update(headers)
        self._places = asyncio.Semaphore(parallel)
        self._http: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        if self._http is not None:
            raise RuntimeError("this ScoreClient is open already")
        limits = httpx.Limits(max_connections=self._parallel, keepalive_expiry=_KEEPALIVE_S)
        # `_call` bounds the whole call, the wait for a connection included.
        timeout = httpx.Timeout(self._timeout_s, pool=None)
        # A transport of its own keeps httpx from `http_proxy`, and still reads `SSL_CERT_FILE`.
        transport = None if trusts_env() else httpx.AsyncHTTPTransport(limits=limits)
        self._http = httpx.AsyncClient(
            limits=limits, timeout=timeout, headers=self._headers, transport=transport
        )
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
        """One result for each rollout, in order; a failed judgement is a result too.

        Args:
            rollouts: A rollout without an id gets its index.
            knobs: For rollouts that do not set their own; only fields that were set are sent.
            deadline_s: For everything, > 0. Rollouts that the service could not judge by then come
                back as `deadline_exceeded`, the others with rewards.

        Raises:
            Refused: A rollout is malformed here already; `scored` has the results of the others.
            ScoreError: Of the first batch without results; `scored` has those of the others.
        """
        ends_at = time.monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        packed, problems = pack(rollouts)
        batches = cut(packed, max_items=self._batch_items, max_bytes=self._batch_bytes)
        # Without the opening brace: `_post` appends them to its own fields.
        fields = (knobs or Knobs()).model_dump_json(exclude_unset=True)[1:]
        results: list[ScoreResult | None] = [None] * len(rollouts)
        errors: Sequence[ScoreError | None] = await asyncio.gather(
            *(self._score_batch(batch, fields, ends_at, results) for batch in batches)
        )
        if problems:
            message = f"{len(rollouts) - len(packed)} of {len(rollouts)} rollouts are invalid"
            problem = Problem(error="invalid_request", message=message, details=tuple(problems))
            errors = [Refused(problem), *errors]
        for error in filter(None, errors):
            error.scored = results
            raise error
        return [result for result in results if result is not None]  # all, where no batch failed

    async def get(self, path: str) -> bytes:
        """The body of one GET, not retried. Raises `ScoreError` for any status but 200."""
        response = await self._call(_GET_S, "GET", path)
        return response.content

    async def _score_batch(
        self,
        batch: Sequence[Parcel],
        fields: str,
        ends_at: float,
        results: list[ScoreResult | None],
    ) -> ScoreError | None:
        """Fill in a batch's `results`, or return its error, which cancels no other batch."""
        try:
            async with asyncio.timeout(ends_at - time.monotonic()), self._places:
                await self._fetch_results(batch, fields, ends_at, results)
        except TimeoutError:
            error: ScoreError = TimedOut("the deadline passed before the service answered")
        except ScoreError as raised:
            error = raised
        else:
            return None
        # An error while resending what a stopping service left: the first answer stands.
        return error if results[batch[0].place] is None else None

    async def _fetch_results(
        self,
        batch: Sequence[Parcel],
        fields: str,
        ends_at: float,
        results: list[ScoreResult | None],
    ) -> None:
        """Fill in `results`; what a stopping service did not start is sent to its successor."""
        waiting, tries = list(batch), 0
        while waiting and tries != self._attempts:  # with None the deadline ends it
            await asyncio.sleep(_STOPPING_PAUSE_S if tries else 0)
            answer = await await_service(
                partial(self._post, waiting, fields, ends_at),
                timeout_s=ends_at - time.monotonic(),
                attempts=self._attempts,
            )
            unstarted = []
            for parcel, result in zip(waiting, answer, strict=True):
                results[parcel.place] = result  # a failure too: it may be all there will be
                if result.failure and result.failure.kind is FailureKind.SHUTTING_DOWN:
                    unstarted.append(parcel)
            waiting, tries = unstarted, tries + 1

    async def _post(
        self, parcels: Sequence[Parcel], fields: str, ends_at: float
    ) -> Sequence[ScoreResult]:
        left_s = min(self._timeout_s, ends_at - time.monotonic())
        # A `ScoreRequest` put together from rollouts that are JSON already.
        body = b'{"items":[%b],"deadline_s":%.3f%b%b' % (
            b",".join(parcel.body for parcel in parcels),
            # Less than is left here, so that the service's own answer is still on time.
            max(0.001, left_s - min(2.0, left_s / 10)),
            b"" if fields == "}" else b",",
            fields.encode(),
        )
        response = await self._call(left_s, "POST", "/v1/score", parcels, content=body)
        try:
            items = ScoreResponse.model_validate_json(response.content).items
        except ValidationError as error:
            raise Unreadable("the answer is no score response") from error
        if [item.id for item in items] != [parcel.id for parcel in parcels]:
            raise Unreadable("the answer's ids are not those that were sent, in their order")
        return items

    async def _call(
        self,
        timeout_s: float,
        method: str,
        path: str,
        parcels: Sequence[Parcel] = (),
        content: bytes | None = None,
    ) -> httpx.Response:
        if self._http is None:
            raise RuntimeError("open the ScoreClient first: async with ScoreClient(url) as client")
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("this ScoreClient was opened on another event loop")
        try:
            # httpx bounds each read, not their sum: a slow drip would never end.
            async with asyncio.timeout(timeout_s):
                response = await self._http.request(method, self.root + path, content=content)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise TimedOut(f"no answer within {timeout_s:.1f} s") from error
        except httpx.RequestError as error:
            raise Unreachable(f"{self.root}: {error or type(error).__name__}") from error
        if response.status_code != httpx.codes.OK:
            raise _to_error(response, parcels)
        return response


def _to_error(response: httpx.Response, parcels: Sequence[Parcel]) -> ScoreError:
    """The error of a response; item numbers in its problem become those of the caller."""
    status, message = response.status_code, f"the service answered {response.status_code}"
    wait_s = parse_retry_after(response.headers.get("retry-after"), now=datetime.now(UTC))
    if status in (429, 503):
        return Overloaded(message, status=status, retry_after_s=wait_s)
    if status in (502, 504):
        return Unreachable(f"a gateway answered {status}", status=status, retry_after_s=wait_s)
    if status < 400:  # redirects too, which httpx does not follow
        return Unreadable(f"{message}, which is no score response", status=status)
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        problem = Problem(error="http_error", message=message)
    if status >= 500:
        said = "" if problem.message == message else f": {problem.message}"
        return Broken(message + said, status=status)
    if status in _ADVICE:
        told = f"{response.url} answered {status}: {_ADVICE[status]}"
        return Refused(Problem(error=problem.error, message=told), status=status)
    details = tuple(
        detail.model_copy(
            update={"loc": _ITEM_INDEX.sub(lambda m: _rename_item(m, parcels), detail.loc)}
        )
        for detail in problem.details
    )
    return Refused(problem.model_copy(update={"details": details}), status=status)


def _rename_item(found: re.Match[str], parcels: Sequence[Parcel]) -> str:
    at = int(found[1])
    return f"items[{parcels[at].place}]" if at < len(parcels) else found[0]


def score(
    url: str,
    rollouts: Sequence[RolloutLike],
    knobs: Knobs | None = None,
    *,
    deadline_s: float | None = None,
    timeout_s: float = 300.0,
    attempts: int | None = 6,
) -> list[ScoreResult]:
    """Blocking `ScoreClient.score`, for scripts."""

    async def run() -> list[ScoreResult]:
        async with ScoreClient(url, timeout_s=timeout_s, attempts=attempts) as client:
            return await client.score(rollouts, knobs, deadline_s)

    # A loop in another thread, because the caller's thread may have a running one.
    with start_blocking_portal() as portal:
        return portal.call(run)
