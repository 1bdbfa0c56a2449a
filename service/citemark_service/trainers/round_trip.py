"""One row posted as its trainer would, and the reward compared with that of `/v1/score`.

Trainers without HTTP call a function, which posts the row's rollout to `/v1/score`; for them the
very same rollout is posted, without the function.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
from pydantic import SecretStr, ValidationError

from citemark_schemas import Problem, Rollout, ScoreResponse
from citemark_service.errors import CitemarkError
from citemark_service.trainers.answers import honest_answer
from citemark_service.trainers.faults import Fault, error, warning
from citemark_service.trainers.survey import Sound
from citemark_service.trainers.trainer import Dialect, Post, Row, Trainer

_CALL_S: Final = 300.0
_EQUAL: Final = 1e-6
_SHOWN: Final = 200


class NoReward(CitemarkError):
    """The service gave no reward for an answer; the message says why, `fix` what helps."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Leg:
    """One made-up answer and its rewards."""

    answer: str
    """`honest` or `empty`."""
    route: str
    """Where it was posted to."""
    reward: float
    scored: float
    """That of `/v1/score`."""


@dataclass(frozen=True, slots=True)
class Trip:
    """What came of posting one row."""

    place: str
    legs: tuple[Leg, ...]
    faults: tuple[Fault, ...]


class Caller:
    """Posts to one service, once each: what is tried here is a trainer's first attempt."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def post(self, post: Post) -> Any:
        """The JSON of the answer.

        Raises:
            NoReward: there is none, or its status is not 200.
        """
        url = f"{self._http.base_url}".rstrip("/") + post.path
        try:
            # httpx bounds each read, not their sum: a slow drip would never end.
            async with asyncio.timeout(_CALL_S):
                response = await self._http.post(url, json=post.body)
        except TimeoutError as late:
            raise NoReward(f"{post.path}: no answer within {_CALL_S:.0f} s", _SLOW) from late
        except httpx.RequestError as away:
            told = f"{url}: {away or type(away).__name__}"
            raise NoReward(told, "does the service run, and is --url its root?") from away
        return _json_of(response, post.path)


_SLOW: Final = "is the judge up, and fast enough? `citemark doctor` examines it"


def _json_of(response: httpx.Response, path: str) -> Any:
    if response.status_code != httpx.codes.OK:
        told = f"{path} answered {response.status_code}{_said(response)}"
        raise NoReward(told, _ADVICE.get(response.status_code, "see the service's log"))
    try:
        return response.json()
    except ValueError as broken:
        raise NoReward(f"{path}: the answer is not JSON", "is --url a Citemark?") from broken


_ADVICE: Final[Mapping[int, str]] = {
    401: "set CITEMARK_API_TOKEN to the service's token",
    403: "set CITEMARK_API_TOKEN to the service's token",
    404: "is --url the root of a Citemark that has this route?",
    413: "raise CITEMARK_MAX_ROLLOUT_BYTES of the service",
    422: "the message names the field",
    429: "the service is full; try again",
    503: "the service is stopping",
}


def _said(response: httpx.Response) -> str:
    try:
        return f": {Problem.model_validate_json(response.content).message}"
    except ValidationError:
        return f": {response.text[:_SHOWN]}" if response.text else ""


@asynccontextmanager
async def calling(url: str, api_token: SecretStr | None) -> AsyncIterator[Caller]:
    """A caller of the service at `url`."""
    token = None if api_token is None else api_token.get_secret_value()
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    timeout = httpx.Timeout(_CALL_S, connect=10.0)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout) as http:
        yield Caller(http)


async def round_trip(trainer: Trainer, sound: Sound, caller: Caller) -> Trip:
    """Post an honest answer and an empty one; whatever goes wrong is among the faults."""
    legs: list[Leg] = []
    try:
        for answer, response in (("honest", honest_answer(sound.rollout)), ("empty", "")):
            legs.append(await _leg(trainer, sound, caller, answer, response))
    except NoReward as failure:
        return Trip(sound.place, tuple(legs), (error("reward", str(failure), failure.fix),))
    return Trip(sound.place, tuple(legs), tuple(_compared(legs)))


async def _leg(trainer: Trainer, sound: Sound, caller: Caller, answer: str, response: str) -> Leg:
    scored = await _scored(sound.rollout, caller, response)
    if trainer.dialect is None:
        return Leg(answer, "/v1/score", scored, scored)
    reward = await _rewarded(trainer.dialect, sound.row, caller, response)
    return Leg(answer, trainer.dialect.posts(sound.row, response)[-1].path, reward, scored)


async def _scored(rollout: Rollout, caller: Caller, response: str) -> float:
    whole = rollout.model_copy(update={"response": response, "finish_reason": "stop"})
    body = whole.model_dump(mode="json", exclude_unset=True)
    answer = await caller.post(Post("/v1/score", {"items": [body]}))
    try:
        (result,) = ScoreResponse.model_validate(answer).items
    except ValueError as broken:
        raise NoReward("/v1/score: the answer is no result", "is --url a Citemark?") from broken
    if result.reward is None:
        failure = result.failure
        told = "no reward" if failure is None else f"{failure.kind}: {failure.message}"
        raise NoReward(f"/v1/score: {told}", "`citemark doctor` examines the judge")
    return result.reward


async def _rewarded(dialect: Dialect, row: Row, caller: Caller, response: str) -> float:
    answer: Any = None
    path = ""
    for post in dialect.posts(row, response):
        path, answer = post.path, await caller.post(post)
    try:
        reward = dialect.reward(answer)
    except (ValueError, LookupError, TypeError, AttributeError) as broken:
        told = f"{path}: the trainer could not read the answer: {broken!r}"
        raise NoReward(told, "does the service's version speak this dialect?") from broken
    if reward is None:
        raise NoReward(f"{path}: the judge failed", "`citemark doctor` examines the judge")
    return reward


def _compared(legs: list[Leg]) -> list[Fault]:
    faults = [
        error(
            "reward",
            f"{leg.route} gives {leg.reward:.6f}, /v1/score {leg.scored:.6f} ({leg.answer} answer)",
            "the row says one thing where the trainer sends it and another elsewhere",
        )
        for leg in legs
        if not math.isclose(leg.reward, leg.scored, rel_tol=_EQUAL, abs_tol=_EQUAL)
    ]
    honest, empty = legs
    if not faults and honest.reward <= empty.reward:
        told = f"an honest answer earns {honest.reward:.3f}, an empty one {empty.reward:.3f}"
        faults.append(warning("reward", told, "`citemark explain` shows why; look at the rubrics"))
    return faults
