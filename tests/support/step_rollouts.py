"""The rollouts of a training step, and a judge whose verdicts depend on every word it is shown."""

import hashlib
import itertools
from typing import Any

from support.judge_tasks import shape_of
from support.scripted_judge import Reply, Script

CALLS = 3
"""What one judgement of a rollout costs in calls of the judge: criteria, claims, evidence."""
_DIGITS = {"V": 3, "S": 3, "U": 2, "C": 2, "F": 2}


def rollout(group: int, sample: int) -> dict[str, Any]:
    """One sample of one group: two cited claims, one uncited sentence, two criteria."""
    return {
        "id": f"{group}-{sample}",
        "question": f"How long is bridge {group}, and when did it open?",
        "tool_output": f"<snippet id=a>Bridge {group} is {group + 90} metres long.</snippet>"
        f"<snippet id=b>It opened in {1800 + group}.</snippet>",
        "response": f"<answer>This is sample {sample}. "
        f"<snippet id=a>It is {group + 80 + sample} metres long.</snippet> "
        f"<snippet id=b,a>It opened in {1800 + group + sample}.</snippet></answer>",
        "positive_rubrics": ["States the length.", "States the year."],
        "negative_rubrics": ["Speaks of other bridges."],
    }


def step(groups: int, samples: int, *, first: int = 0) -> list[dict[str, Any]]:
    numbers = itertools.product(range(first, first + groups), range(samples))
    return [rollout(group, sample) for group, sample in numbers]


def by_content(*, delay_s: float = 0.0) -> Script:
    """Verdicts drawn from a hash of the prompt: equal prompts get equal ones, wherever asked."""

    def script(request: dict[str, Any]) -> Reply:
        prompt = request["messages"][-1]["content"]
        draws = itertools.cycle(hashlib.sha256(prompt.encode()).digest())
        shape = shape_of(request)
        content = "".join(str(next(draws) % _DIGITS[c]) if c in _DIGITS else c for c in shape)
        return Reply(content, delay_s=delay_s)

    return script
