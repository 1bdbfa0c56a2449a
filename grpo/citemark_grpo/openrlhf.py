"""Rewards for OpenRLHF by a Python file. Unlike its HTTP form (the service's route `/get_reward`),
it waits longer than 3 minutes and keeps one connection pool.

    export CITEMARK_URL=http://HOST:8000
    --reward.remote_url $(python -m citemark_grpo.openrlhf) --data.label_key label   # 0.10.2 on
    --remote_rm_url $(python -m citemark_grpo.openrlhf) --label_key label            # before

Question, tool output and rubrics are JSON text in the label column; question and sources may be in
the prompt. OpenRLHF cannot leave a sample out, and a missing reward ends the run, so a
failed judge gives the running mean of the same prompt's rewards, else `fallback_reward`, with
`judge_failed` 1.0. A malformed row raises, which ends the run.
"""

import sys
from collections.abc import Sequence
from typing import Any

from citemark_grpo.outcome import signals_of
from citemark_grpo.service import connect
from citemark_schemas import SIGNALS, EnvelopeError, ProblemDetail, continuation


def reward_func(
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[Any],
    **kwargs: Any,  # noqa: ARG001  older versions pass more
) -> dict[str, Any]:
    """`rewards` and `scores` (floats) and `extra_logs` (a list of floats for each metric).

    `queries` are prompts and responses decoded together, special tokens included.
    """
    service = connect()
    rollouts = []
    for query, prompt, label in zip(queries, prompts, labels, strict=True):
        response = continuation(query, prompt)
        if response is None:
            message = "does not begin with its prompt, so that nobody can say what is response"
            raise EnvelopeError([ProblemDetail(loc="query", message=message)])
        rollouts.append(service.to_rollout({"label": label}, response, prompt=prompt))
    scores = service.scores_sync(rollouts)
    rewards = [score.reward for score in scores]
    signals = [signals_of(score.outcome) for score in scores]
    logs = {name: [row[name] for row in signals] for name in (SIGNALS if signals else ())}
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}


if __name__ == "__main__":
    sys.stdout.write(f"{__file__}\n")
