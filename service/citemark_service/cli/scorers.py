"""How the command line gets a rollout scored: in this process, or by a running service.

CitemarkError
├── NotScored                the service failed on this rollout; the next one may do better
└── NoService                there is nobody to ask, so the run ends
    ├── ServiceUnreachable   no connection; tried again
    └── ServiceRefused       a wrong token or URL, which no further row would change
"""

import asyncio
import email.utils
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Literal, Protocol

import httpx
from pydantic import BaseModel, SecretStr, ValidationError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Problem, ScoreRequest, ScoreResponse, ScoreResult
from citemark_service.cli.resume import Facts, Made, facts_of
from citemark_service.cli.rows import Row
from citemark_service.errors import CitemarkError, InvalidRequest
from citemark_service.judges.factory import build_judge
from citemark_service.score.fingerprint import rollout_hash
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.factory import cache_verdicts

CALL_TIMEOUT_S = 600.0
_RETRY_FOR_S = 180.0
_BACKOFF = wait_random_exponential(multiplier=0.5, max=20)
_STRANGER = "no token, or a wrong one; set CITEMARK_API_TOKEN to the service's token"
_ADVICE = {401: _STRANGER, 403: _STRANGER, 404: "is --url the root of a Citemark?"}
"""What of the caller's own is the likeliest cause, of answers that are the same for every row."""


class _Index(BaseModel):
    """What `GET /` says of a service, as far as results record it too."""

    service: Literal["citemark"]
    version: str
    judge: str


class NotScored(CitemarkError):
    """The service has no result for this rollout; the message says why."""


class NoService(CitemarkError):
    """There is no service that would score anything; the message says why."""


class ServiceUnreachable(NoService):
    """No connection to the service, after retries."""


class ServiceRefused(NoService):
    """The service refuses the caller, whatever the row; the message says what to set."""


class _Busy(NotScored):
    """429, 502, 503 or 504: worth another try, after `retry_after_s` where it is given."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Scorer(Protocol):
    """Scores one row after another, or many at once."""

    async def score(self, row: Row) -> ScoreResult:
        """The row's result, under its id.

        Raises:
            InvalidRequest: the row is wrong and stays so.
            NotScored: it has no result now.
            NoService: nothing can be scored now.
        """
        ...

    def expected(self, row: Row) -> Made:
        """What the row's result would record of its making, as far as it is known beforehand.

        Raises:
            InvalidRequest: the row would be refused.
        """
        ...


class LocalScorer:
    """Scores in this process. The judge's failures are in the results."""

    def __init__(self, pipeline: Pipeline, knobs: Knobs) -> None:
        self._pipeline = pipeline
        self._knobs = knobs

    async def score(self, row: Row) -> ScoreResult:
        """As `Scorer`; raises `InvalidRequest` only."""
        self._pipeline.check(row.rollout, self._knobs)
        return await self._pipeline.score(
            row.rollout, request=self._knobs, position=row.position, deadline=None
        )

    def expected(self, row: Row) -> Made:
        """As `Scorer`: everything is known."""
        found = self._pipeline.provenance(row.rollout, self._knobs)
        return Made(found.rollout_hash, facts_of(found.knobs, found.model, found.versions))


class RemoteScorer:
    """Posts one row a call to a service; the one owner of retries between here and it.

    Args:
        known: what is known of how the service scores.
    """

    def __init__(
        self, http: httpx.AsyncClient, knobs: Knobs, *, known: Facts, attempts: int = 6
    ) -> None:
        self._http = http
        self._knobs = knobs.model_dump(exclude_unset=True)
        self._known = known
        self._attempts = attempts

    async def score(self, row: Row) -> ScoreResult:
        """As `Scorer`."""
        # The caller's own columns are never judged, so they need not travel.
        rollout = row.rollout.model_copy(update={"id": row.id, "metadata": None})
        request = ScoreRequest(items=(rollout,), **self._knobs)
        response = await self._retried(request.model_dump_json(exclude_unset=True).encode())
        try:
            (result,) = ScoreResponse.model_validate_json(response.content).items
        except ValueError as error:
            raise NotScored("the answer is no score response with one result") from error
        if result.id != row.id:
            raise NotScored("the answer is for another rollout")
        return result

    def expected(self, row: Row) -> Made:
        """As `Scorer`: the knobs that are given here; the service's own defaults are unknown."""
        given = row.rollout.model_dump(include=set(Knobs.model_fields), exclude_unset=True)
        return Made(rollout_hash(row.rollout), {**self._known, **self._knobs, **given})

    async def _retried(self, body: bytes) -> httpx.Response:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((ServiceUnreachable, _Busy)),
            stop=stop_after_attempt(self._attempts) | stop_before_delay(_RETRY_FOR_S),
            wait=_pause,
            reraise=True,
        )
        response: httpx.Response = await retrying(self._posted, body)
        return response

    async def _posted(self, body: bytes) -> httpx.Response:
        try:
            # httpx bounds each read, not their sum: a slow drip would never end.
            async with asyncio.timeout(CALL_TIMEOUT_S):
                response = await self._http.post("/v1/score", content=body)
        except TimeoutError as error:
            raise NotScored(f"no answer within {CALL_TIMEOUT_S:.0f} s") from error
        except httpx.RequestError as error:
            raise _unreachable(self._http, error) from error
        _refuse_status(response, self._http)
        return response


def _pause(state: RetryCallState) -> float:
    """Seconds to the next attempt: what the service asked for, plus jitter that widens."""
    error = state.outcome.exception() if state.outcome is not None else None
    return (error.retry_after_s if isinstance(error, _Busy) else 0.0) + _BACKOFF(state)


def _retry_after_s(response: httpx.Response) -> float:
    """Retry-After in seconds, 0 without one; it may be a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _refuse_status(response: httpx.Response, http: httpx.AsyncClient) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    if status in _ADVICE:
        raise ServiceRefused(f"{_root(http)} answered {status}: {_ADVICE[status]}")
    if status in (429, 502, 503, 504):
        raise _Busy(f"the service answered {status}", _retry_after_s(response))
    if status in (413, 422):
        raise InvalidRequest(_problem(response))
    raise NotScored(f"the service answered {status}: {_problem(response)}")


def _problem(response: httpx.Response) -> str:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return "without a problem body"
    places = (f"{each.loc.removeprefix('items[0].')}: {each.message}" for each in problem.details)
    return "; ".join(places) or problem.message


def _unreachable(http: httpx.AsyncClient, error: httpx.RequestError) -> ServiceUnreachable:
    return ServiceUnreachable(f"cannot reach {_root(http)}: {error or type(error).__name__}")


def _root(http: httpx.AsyncClient) -> str:
    """The service for messages, without the path, which may hold a token."""
    return f"{http.base_url.scheme}://{http.base_url.netloc.decode()}"


@asynccontextmanager
async def local_scorer(settings: Settings, knobs: Knobs) -> AsyncIterator[LocalScorer]:
    """A scorer with the judge of these settings, which is closed in the end."""
    metrics = Metrics()
    library = load_library(settings.rubrics_dir)
    judge = cache_verdicts(build_judge(settings, metrics), settings, metrics)
    async with aclosing(judge):
        yield LocalScorer(
            Pipeline(judge=judge, library=library, settings=settings, metrics=metrics), knobs
        )


@asynccontextmanager
async def remote_scorer(
    url: str, knobs: Knobs, concurrency: int, api_token: SecretStr | None
) -> AsyncIterator[RemoteScorer]:
    """A scorer that posts to the service at `url`, which asks for `api_token` or for none.

    Raises:
        ServiceUnreachable: nothing answers there; better known now than after every retry.
    """
    async with httpx.AsyncClient(
        base_url=url,
        headers={"content-type": "application/json", **_bearer(api_token)},
        limits=httpx.Limits(max_connections=concurrency, keepalive_expiry=4.0),
        timeout=httpx.Timeout(CALL_TIMEOUT_S, connect=10.0, pool=None),
    ) as http:
        yield RemoteScorer(http, knobs, known=await _known(http))


def _bearer(token: SecretStr | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token.get_secret_value()}"}


async def _known(http: httpx.AsyncClient) -> Facts:
    """Which judge and version answer there; nothing where a gateway keeps that to itself."""
    try:
        response = await http.get("/", timeout=10.0)
    except httpx.RequestError as error:
        raise _unreachable(http, error) from error
    try:
        index = _Index.model_validate_json(response.content)
    except ValidationError:
        return {}
    return {"judge model": index.judge, "service version": index.version}
