"""How a driver is told what to do and tells what came of it: JSON on its standard streams.

A driver, `drive_….py`, runs in the trainers' environment, with the client package
beside it and nothing else of this repository's.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

Job = dict[str, Any]
"""`rollouts`, group by group; `samples` in each group; `url` of the service; what else is said."""


def groups(job: Job) -> list[list[dict[str, Any]]]:
    """The rollouts of each prompt."""
    rollouts, size = job["rollouts"], job["samples"]
    return [rollouts[start : start + size] for start in range(0, len(rollouts), size)]


def row_of(rollout: dict[str, Any]) -> dict[str, Any]:
    """What a data set holds of a rollout: all but what the policy wrote."""
    return {name: value for name, value in rollout.items() if name not in ("id", "response")}


def answer(work: Callable[[Job], Any]) -> None:
    """Do the job on standard input; what came of it is the last line of standard output."""
    told = work(json.load(sys.stdin))
    sys.stdout.write("\n" + json.dumps(told, allow_nan=False) + "\n")
    sys.stdout.flush()
