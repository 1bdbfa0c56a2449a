"""Posts a row as its trainer would and compares the reward with that of `/v1/score`.

For trainers whose reward is a Python function, the rollout that it would post is posted directly.
"""

import asyncio
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from pydantic import ValidationError

from citemark_schemas import CitationStyle, Problem, Rollout, ScoreResponse, ScoreResult
from citemark_service.errors import CitemarkError
from citemark_service.parsing.sources import read_sources
from citemark_service.settings import Settings
from citemark_service.trainers.checks import SoundRow
from citemark_service.trainers.faults import Fault, error, warning
from citemark_service.trainers.route import Body
from citemark_service.trainers.trainer import Trainer

_CALL_S: Final = 300.0
_EQUAL: Final = 1e-6  # tolerance, relative and absolute
_LONGEST: Final = 240  # characters of a claim
_CITABLE: Final = re.compile(r"[^\s,<>\"'=]+")
_SENTENCE: Final = re.compile(r"[^.!?]{1,2000}[.!?]?")
_UNREAD: Final = "citation_style says which citations and sources are read"
_DOCTOR: Final = "`citemark doctor` examines the judge"
_CLAIMS: Final[Mapping[CitationStyle, str]] = {
    "auto": "<snippet id={0}>{1}</snippet>",
    "snippet": "<snippet id={0}>{1}</snippet>",
    "cite": '<cite id="{0}">{1}</cite>',
    "numbered": "{1} [{0}]",
}
_ADVICE: Final[Mapping[int, str]] = {
    401: "set CITEMARK_API_TOKEN to the service's token",
    403: "set CITEMARK_API_TOKEN to the service's token",
    404: "is --url the root of a Citemark that has this route?",
    413: "raise CITEMARK_MAX_ROLLOUT_BYTES of the service",
    422: "the message names the field",
    429: "the service is full; try again",
    503: "the service is stopping",
}


class NoReward(CitemarkError):
    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Leg:
    answer: str
    """`honest` or `empty`."""
    route: str
    reward: float
    """As the trainer reads it from `route`."""
    scored: float
    """From `/v1/score`."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trip:
    place: str
    legs: tuple[Leg, ...]
    faults: tuple[Fault, ...]


async def make_round_trip(trainer: Trainer, sound: SoundRow, url: str, settings: Settings) -> Trip:
    """Post an honest and an empty answer; failures are returned as faults, not raised."""
    headers = {}
    if settings.api_token is not None:
        headers["authorization"] = f"Bearer {settings.api_token.get_secret_value()}"
    # One of its own keeps httpx from the environment's proxies, and still reads `SSL_CERT_FILE`.
    transport = None if settings.trust_env else httpx.AsyncHTTPTransport()
    timeout = httpx.Timeout(_CALL_S, connect=10.0)
    legs: list[Leg] = []
    faults: Iterable[Fault]
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=timeout, transport=transport
    ) as http:
        try:
            for answer, response in (("honest", honest_answer(sound.rollout)), ("empty", "")):
                legs.append(await _leg(http, trainer, sound, answer, response))
            faults = [warning("citations", told, _UNREAD) for told in legs[0].warnings]
            faults += _compare(*legs)
        except NoReward as failure:
            faults = [error("reward", str(failure), failure.fix)]
    return Trip(sound.place, tuple(legs), tuple(faults))


def honest_answer(rollout: Rollout) -> str:
    """An answer that quotes and cites the first 3 sources; a judge should rate it high."""
    claims: list[str] = []
    style = rollout.citation_style
    claim = _CLAIMS[style]
    for source in read_sources(rollout.tool_output, rollout.snippets, style).by_id.values():
        words = " ".join(re.sub(r"[<>]", " ", source.text[: 8 * _LONGEST]).split())
        sentence = _SENTENCE.match(words)
        text = sentence.group()[:_LONGEST].strip() if sentence else ""
        if text and _CITABLE.fullmatch(source.id):
            claims.append(claim.format(source.id, text))
    answer = " ".join(claims[:3]) or "The search results do not answer the question."
    return f"<answer>{answer}</answer>"


async def _score(http: httpx.AsyncClient, rollout: Rollout, response: str) -> ScoreResult:
    whole = rollout.model_copy(update={"response": response, "finish_reason": "stop"})
    item = whole.model_dump(mode="json", exclude_unset=True)
    answer = await _post(http, "/v1/score", {"items": [item]})
    try:
        (result,) = ScoreResponse.model_validate(answer).items
    except ValueError as broken:
        raise NoReward("/v1/score: the answer is no result", "is --url a Citemark?") from broken
    if result.reward is None:
        failure = result.failure
        told = "no reward" if failure is None else f"{failure.kind}: {failure.message}"
        raise NoReward(f"/v1/score: {told}", _DOCTOR)
    return result


async def _leg(
    http: httpx.AsyncClient, trainer: Trainer, sound: SoundRow, answer: str, response: str
) -> Leg:
    result = await _score(http, sound.rollout, response)
    scored = result.reward or 0.0
    warnings = tuple(each.message for each in result.warnings)
    if trainer.posts is None:
        return Leg(answer, "/v1/score", scored, scored, warnings)
    path, told = "", None
    for path, body in trainer.posts(sound.row, response).items():
        told = await _post(http, path, body)
    try:
        reward = trainer.reward(told)
    except (ValueError, LookupError, TypeError, AttributeError) as broken:
        problem = f"{path}: the trainer could not read the answer: {broken!r}"
        raise NoReward(problem, "does the service's version speak this dialect?") from broken
    if reward is None:
        raise NoReward(f"{path}: the judge failed", _DOCTOR)
    return Leg(answer, path, reward, scored, warnings)


async def _post(http: httpx.AsyncClient, path: str, body: Body) -> Any:
    """The JSON of an answer with status 200, without retries. Raises `NoReward`."""
    url = f"{http.base_url}".rstrip("/") + path
    try:
        # httpx limits each read but not their sum: an answer in a slow drip would never end.
        async with asyncio.timeout(_CALL_S):
            response = await http.post(url, json=body)
    except TimeoutError as late:
        fix = "is the judge up, and fast enough? `citemark doctor` examines it"
        raise NoReward(f"{path}: no answer within {_CALL_S:.0f} s", fix) from late
    except httpx.RequestError as away:
        told = f"{url}: {away or type(away).__name__}"
        raise NoReward(told, "does the service run, and is --url its root?") from away
    status = response.status_code
    if status != httpx.codes.OK:
        try:
            reason = f": {Problem.model_validate_json(response.content).message}"
        except ValidationError:
            reason = f": {response.text[:200]}" if response.text else ""
        fix = _ADVICE.get(status, "see the service's log")
        raise NoReward(f"{path} answered {status}{reason}", fix)
    try:
        return response.json()
    except ValueError as broken:
        raise NoReward(f"{path}: the answer is not JSON", "is --url a Citemark?") from broken


def _compare(honest: Leg, empty: Leg) -> Iterator[Fault]:
    unequal = [
        leg
        for leg in (honest, empty)
        if not math.isclose(leg.reward, leg.scored, rel_tol=_EQUAL, abs_tol=_EQUAL)
    ]
    for leg in unequal:
        yield error(
            "reward",
            f"{leg.route} gives {leg.reward:.6f}, /v1/score {leg.scored:.6f} ({leg.answer} answer)",
            "the row says one thing where the trainer sends it and another elsewhere",
        )
    if not unequal and honest.reward <= empty.reward:
        told = f"an honest answer earns {honest.reward:.3f}, an empty one {empty.reward:.3f}"
        yield warning("reward", told, "`citemark explain` shows why; look at the rubrics")
