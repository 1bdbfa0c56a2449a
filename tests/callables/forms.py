"""Rows of a small data set, what the service says of them, and each trainer's way to ask it."""

import asyncio
import enum
import functools
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel, ConfigDict

from citemark_grpo import score
from citemark_grpo.errors import TimedOut, Unjudged, Unreachable
from citemark_grpo.slime import rm
from citemark_grpo.trl import rubric_reward
from citemark_grpo.verifiers import legacy_reward, reward
from citemark_grpo.verl import compute_score, compute_score_batch, compute_score_sync
from citemark_schemas import SIGNALS, ScoreResult

QUESTION = "Since when has the Aldersund ferry run, and how long is the crossing?"
SOURCES = (
    "<snippet id=S1>The Aldersund ferry has run since 12 April 1963.</snippet>\n"
    "<snippet id=S2>The crossing takes 25 minutes in summer.</snippet>"
)
ENVELOPE: dict[str, Any] = {
    "question": QUESTION,
    "tool_output": SOURCES,
    "positive_rubrics": ["Gives 12 April 1963", {"title": "Crossing", "description": "25 minutes"}],
    "negative_rubrics": ["Speaks of the bridge"],
}
RESPONSES = (
    "<answer><snippet id=S1>The ferry has run since 12 April 1963.</snippet></answer>",
    "<answer><snippet id=S2>The crossing takes 25 minutes in summer.</snippet></answer>",
    "<answer>There is a bridge now, I believe.</answer>",
    "no answer block at all",
)
RUBRICS = {name: ENVELOPE[name] for name in ("positive_rubrics", "negative_rubrics")}
FAILING = "<answer><snippet id=S1>The ferry did not fail once.</snippet></answer>"
"""A response on which the judge fails."""
Rewarded = Sequence[tuple[float | None, float]]
"""Rewards, None where the trainer leaves a rollout out, and flags of a failed judge."""


def results(url: str, responses: tuple[str, ...] = RESPONSES) -> list[ScoreResult]:
    """What `/v1/score` gives for these responses."""
    return score(url, [{**ENVELOPE, "response": response} for response in responses])


def expected(url: str, responses: tuple[str, ...] = RESPONSES) -> list[float | None]:
    """Their rewards."""
    return [result.reward for result in results(url, responses)]


def judge_failed(signals: Mapping[str, Any]) -> float:
    """The flag among metrics, which are the same finite floats whatever happens."""
    assert set(SIGNALS) <= signals.keys()
    assert all(type(signals[name]) is float for name in SIGNALS)
    assert all(math.isfinite(signals[name]) for name in SIGNALS)
    return float(signals["judge_failed"])


class Log:
    """TRL's two callbacks."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.columns: dict[str, list[Any]] = {}

    def rewards(self, rows: Any, completions: Any, prompt: Any = QUESTION) -> list[float | None]:
        count = len(completions)
        call = rubric_reward(
            prompts=[prompt] * count,
            completions=completions,
            completion_ids=[[1, 2]] * count,
            log_extra=self.columns.__setitem__,
            log_metric=self.metrics.__setitem__,
            trainer_state=SimpleNamespace(global_step=7),
            **{name: [row[name] for row in rows] for name in (rows[0] if rows else ())},
        )
        return asyncio.run(call)


def with_trl(rows: Any, responses: Any) -> Rewarded:
    log = Log()
    rewards = log.rewards(rows, list(responses))
    reasons = log.columns["judge_failure"]
    return [(each, float(bool(reason))) for each, reason in zip(rewards, reasons, strict=True)]


def for_verl(response: str = RESPONSES[0], **row: Any) -> dict[str, Any]:
    extra_info = {**ENVELOPE, "index": 3, "num_turns": 2, **row}
    call = {"data_source": "citemark", "solution_str": response, "ground_truth": ""}
    return {**call, "extra_info": extra_info}


def batch_of(rows: Sequence[dict[str, Any]], **settings: Any) -> list[dict[str, float]]:
    columns = {f"{name}s": [row[name] for row in rows] for name in rows[0]}
    return compute_score_batch(**columns, **settings)


def with_verl(form: str, rows: Any, responses: Any) -> Rewarded:
    calls = [for_verl(response, **row) for row, response in zip(rows, responses, strict=True)]

    async def step() -> list[dict[str, float]]:
        return await asyncio.gather(*(compute_score(**call) for call in calls))

    if form == "async":
        scores = asyncio.run(step())
    elif form == "sync":
        scores = [compute_score_sync(**call) for call in calls]
    else:
        texts = [json.dumps(call["extra_info"]) for call in calls]
        moved = {"extra_info": None}
        scores = batch_of(
            [{**c, **moved, "ground_truth": t} for c, t in zip(calls, texts, strict=True)]
        )
    assert {tuple(each) for each in scores} == {("score", *SIGNALS)}
    return [(each["score"], judge_failed(each)) for each in scores]


@functools.cache
def reward_func() -> Callable[..., dict[str, Any]]:
    """The function as OpenRLHF loads it: from the file that the command names."""
    command = [sys.executable, "-m", "citemark_grpo.openrlhf"]
    named = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert named.endswith(".py")
    spec = importlib.util.spec_from_file_location("reward_func", named)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., dict[str, Any]] = module.reward_func
    return found


def with_openrlhf(rows: Any, responses: Any) -> Rewarded:
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    queries = [f"{prompt}{response}<|im_end|>" for response in responses]
    answer = reward_func()(queries, [prompt] * len(queries), list(map(json.dumps, rows)))
    assert answer["rewards"] == answer["scores"]
    logs = answer["extra_logs"].items()
    return [
        (each, judge_failed({name: values[at] for name, values in logs}))
        for at, each in enumerate(answer["rewards"])
    ]


class Status(enum.Enum):
    """As slime spells them."""

    COMPLETED = "completed"
    TRUNCATED = "truncated"


@dataclass
class Sample:
    """The fields of slime's class that matter here; slime cannot be installed without a GPU."""

    response: str
    metadata: dict[str, Any] = field(default_factory=lambda: dict(ENVELOPE))
    label: Any = None
    prompt: Any = QUESTION
    status: Status = Status.COMPLETED
    remove_sample: bool = False


def arguments(url: str | None = None, reward_key: str | None = None) -> Any:
    return SimpleNamespace(rm_url=url, reward_key=reward_key)


def with_slime(form: str, rows: Any, responses: Any) -> Rewarded:
    samples = [Sample(*pair) for pair in zip(responses, rows, strict=True)]

    async def step() -> Any:
        if form == "group":
            return await rm(arguments(), samples)
        return [await rm(arguments(reward_key="reward"), sample) for sample in samples]

    told = asyncio.run(step())
    if form == "group":
        return [(each, float(s.remove_sample)) for each, s in zip(told, samples, strict=True)]
    assert all(each.keys() == {"reward", *SIGNALS} for each in told)
    flags = [judge_failed(each) for each in told]
    assert flags == [sample.remove_sample for sample in samples]
    return [(each["reward"], flag) for each, flag in zip(told, flags, strict=True)]


class Message(BaseModel):
    """A tool's answer, as verifiers has it."""

    role: str = "tool"
    content: str


class Task(BaseModel):
    """A task's data: the package's own fields, and the data set's."""

    model_config = ConfigDict(extra="allow", frozen=True)

    idx: int = 0
    id: str | None = None
    name: str | None = None
    prompt: str = QUESTION


class Trace:
    """What is read and written of a trace; the real one is used by `make test-trainers`."""

    def __init__(self, response: str, tools: Any = (), *, is_truncated: bool = False) -> None:
        self.last_reply: str = response
        self.tool_messages = [Message(content=text) for text in tools]
        self.is_truncated: bool = is_truncated
        self.metrics: dict[str, float] = {}

    def record_metrics(self, values: Any) -> None:
        self.metrics.update(values)


def with_verifiers(rows: Any, responses: Any) -> Rewarded:
    async def judge(row: Any, response: str) -> tuple[float | None, float]:
        trace = Trace(response)
        try:
            return await reward(Task(**row), trace), trace.metrics["citemark_judge_failed"]
        except (Unjudged, Unreachable, TimedOut):  # a busy machine may not even have tried
            assert trace.metrics == {}
            return None, 1.0

    async def step() -> Rewarded:
        return await asyncio.gather(*map(judge, rows, responses))

    return asyncio.run(step())


def with_rubric(place: str, rows: Any, responses: Any) -> Rewarded:
    """verifiers' older vf.Rubric."""
    told: list[tuple[float, float]] = []
    for row, response in zip(rows, responses, strict=True):
        state: dict[str, Any] = {}
        given = {"info": {}, "answer": "", place: row, "state": state, "parser": None}
        completion = [{"role": "assistant", "content": response}]
        prompt = [{"role": "user", "content": QUESTION}]
        told.append((asyncio.run(legacy_reward(prompt, completion, **given)), judge_failed(state)))
    return told


FORMS: dict[str, tuple[Callable[[Any, Any], Rewarded], str]] = {
    "trl": (with_trl, r"rows\[1\]\."),
    "verl": (functools.partial(with_verl, "async"), ""),
    "verl, sync": (functools.partial(with_verl, "sync"), ""),
    "verl, batch": (functools.partial(with_verl, "batch"), ""),
    "openrlhf": (with_openrlhf, "label."),
    "slime": (functools.partial(with_slime, "single"), r"metadata\."),
    "slime, group": (functools.partial(with_slime, "group"), r"metadata\."),
    "verifiers": (with_verifiers, r"task\."),
    "verifiers, info": (functools.partial(with_rubric, "info"), r"info\."),
    "verifiers, answer": (functools.partial(with_rubric, "answer"), r"answer\."),
}
"""How each form is called, and how it names the place of a row."""
