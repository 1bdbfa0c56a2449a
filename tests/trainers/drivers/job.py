"""How a driver gets its job and answers: JSON on its standard streams.

A driver, `drive_….py`, runs in the trainers' environment, with the client package
beside it and nothing else of this repository's.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

Job = dict[str, Any]
"""`rollouts`, group by group; `samples` in each group; `url` of the service; `way` to use it;
`tries` of a post, where its trainer's caller repeats it."""


def groups(job: Job) -> list[list[dict[str, Any]]]:
    rollouts, size = job["rollouts"], job["samples"]
    return [rollouts[start : start + size] for start in range(0, len(rollouts), size)]


def row_of(rollout: dict[str, Any]) -> dict[str, Any]:
    """What a data set holds of a rollout: all but what the policy wrote."""
    return {name: value for name, value in rollout.items() if name not in ("id", "response")}


def answer(work: Callable[[Job], dict[str, Any]]) -> None:
    """Do the job on standard input; the last line of standard output is what came of it.

    `rewards`, None where the trainer leaves a rollout out; `flags`, for each rollout the 0 or 1 of
    every mark of a failed judge that the trainer reads; `names` of the metrics that all rollouts
    have; and `advantages` and `responses` where the trainer holds them.
    """
    told = work(json.load(sys.stdin))
    sys.stdout.write("\n" + json.dumps(told, allow_nan=False) + "\n")
    sys.stdout.flush()
