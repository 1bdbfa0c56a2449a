"""verifiers' own scoring of traces: its NeMo Gym task set, a plugged reward, the judge plugin.

The traces are as its rollouts leave them, with what the policy said; no model is asked.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import verifiers.v1 as vf
from verifiers.v1.configs.agent import AgentConfig
from verifiers.v1.errors import TaskError
from verifiers.v1.graph import MessageNode
from verifiers.v1.tasksets.nemo_gym import NeMoGymConfig, NeMoGymTaskConfig, NeMoGymTaskset
from verifiers.v1.tasksets.nemo_gym.toolset import NeMoGymState
from verifiers.v1.trace import AgentInfo, Trace, TraceTask
from verifiers.v1.types import AssistantMessage, UserMessage

from job import Job, answer, row_of


class Row(vf.TaskData):  # type: ignore[misc]  # verifiers is not installed with mypy
    """A row of a data set, as a task set of one's own would declare it."""

    question: str
    tool_output: str
    positive_rubrics: list[Any]
    negative_rubrics: list[Any]


class RowTask(vf.Task[Row, vf.State, vf.TaskConfig]):  # type: ignore[misc]  # as above
    """A task without rewards of its own."""


def plugged(job: Job) -> Iterator[vf.Task]:
    """Tasks whose reward is named in the configuration, as `job["way"]` says."""
    ways: dict[str, dict[str, Any]] = {
        "reward": {"rewards": {"citemark": {"fn": "citemark_grpo.verifiers:reward"}}},
        "judge": {"judges": [{"id": "citemark-judge", "base_url": job["url"]}]},
    }
    config = vf.TaskConfig.model_validate(ways[job["way"]])
    for rollout in job["rollouts"]:
        yield RowTask(Row(prompt=rollout["question"], **row_of(rollout)), config)


def gym(job: Job) -> Iterator[vf.Task]:
    """Tasks of the NeMo Gym task set, read from its JSON lines."""
    rows = [
        {"responses_create_params": {"input": rollout["question"]}, **row_of(rollout)}
        for rollout in job["rollouts"]
    ]
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder) / "rows.jsonl"
        dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = NeMoGymTaskConfig(resources_url=f"{job['url']}/strict")
        yield from NeMoGymTaskset(NeMoGymConfig(id="nemo-gym", dataset=dataset, task=task)).load()


async def score(task: vf.Task, rollout: dict[str, Any], job: Job) -> Trace | None:
    """The trace of one answer to one prompt; where scoring raised, it is left out."""
    asked = UserMessage(role="user", content=rollout["question"])
    said = AssistantMessage(role="assistant", content=rollout["response"])
    way = job["way"]
    for _ in range(job["tries"]):
        trace = Trace(
            task=TraceTask(type=type(task).__name__, data=task.data),
            agent=AgentInfo(config=AgentConfig()),
            state=NeMoGymState() if way == "gym" else vf.State(),
            nodes=[MessageNode(message=asked), MessageNode(parent=0, message=said, sampled=True)],
        )
        try:
            if way == "gym":
                await task.setup(trace, None)
            await task.score(trace)
        except (TaskError, httpx.HTTPError):  # what a session's start raises is not wrapped
            continue
        return trace
    return None


async def work(job: Job) -> dict[str, Any]:
    way = job["way"]
    tasks = list(gym(job) if way == "gym" else plugged(job))
    calls = [score(*pair, job) for pair in zip(tasks, job["rollouts"], strict=True)]
    traces = await asyncio.gather(*calls)
    metrics = [trace.metrics for trace in traces if trace is not None]
    return {
        "rewards": [None if trace is None else trace.reward for trace in traces],
        "flags": [[each.get("mask_sample", 0)] for each in metrics],
        "names": [
            name if way == "gym" else name.removeprefix("citemark_")
            for name in set.intersection(*map(set, metrics))
        ],
    }


if __name__ == "__main__":
    answer(lambda job: asyncio.run(work(job)))
