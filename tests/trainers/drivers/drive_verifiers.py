"""verifiers' own scoring of traces: its NeMo Gym task set, a plugged reward, the judge plugin.

The traces are as its rollouts leave them, with what the policy said; no model is asked.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
        task = NeMoGymTaskConfig(resources_url=job["url"])
        yield from NeMoGymTaskset(NeMoGymConfig(id="nemo-gym", dataset=dataset, task=task)).load()


def traced(task: vf.Task, rollout: dict[str, Any], way: str) -> Trace:
    """The trace of one answer to one prompt."""
    trace = Trace(
        task=TraceTask(type=type(task).__name__, data=task.data),
        agent=AgentInfo(config=AgentConfig()),
        state=NeMoGymState() if way == "gym" else vf.State(),
    )
    asked = UserMessage(role="user", content=rollout["question"])
    said = AssistantMessage(role="assistant", content=rollout["response"])
    trace.nodes = [MessageNode(message=asked), MessageNode(parent=0, message=said, sampled=True)]
    return trace


async def scored(task: vf.Task, rollout: dict[str, Any], job: Job) -> dict[str, Any] | None:
    """Reward and metrics; None where scoring raised, which takes the trace out of training."""
    for _ in range(job.get("tries", 1)):
        trace = traced(task, rollout, job["way"])
        try:
            if job["way"] == "gym":
                await task.setup(trace, None)
            await task.score(trace)
        except TaskError:
            continue
        return {"reward": trace.reward, "metrics": trace.metrics, "info": trace.info}
    return None


async def work(job: Job) -> list[dict[str, Any] | None]:
    """Every trace of the step, all at once."""
    tasks = list(gym(job) if job["way"] == "gym" else plugged(job))
    calls = [scored(*pair, job) for pair in zip(tasks, job["rollouts"], strict=True)]
    return list(await asyncio.gather(*calls))


if __name__ == "__main__":
    answer(lambda job: asyncio.run(work(job)))
