"""One rollout as each trainer's client sends it."""

import json
from typing import Any

PROMPT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def label(rollout: dict[str, Any]) -> str:
    """What a row's label column holds: all but the response, as text."""
    return json.dumps({name: value for name, value in rollout.items() if name != "response"})


def for_openrlhf(*rollouts: dict[str, Any]) -> dict[str, Any]:
    """The body of `/get_reward`; decoded with its special tokens, as the client does."""
    prompts = [PROMPT.format(rollout["question"]) for rollout in rollouts]
    return {
        "query": [
            f"{prompt}{rollout['response']}<|im_end|>\n<|endoftext|>"
            for prompt, rollout in zip(prompts, rollouts, strict=True)
        ],
        "prompts": prompts,
        "labels": [label(rollout) for rollout in rollouts],
    }


def for_slime(rollout: dict[str, Any]) -> dict[str, Any]:
    """The body of `/rm`."""
    prompt = [{"role": "user", "content": rollout["question"]}]
    return {"prompt": prompt, "response": rollout["response"], "label": label(rollout)}


def for_open_instruct(rollout: dict[str, Any]) -> dict[str, Any]:
    """The body of `/test_program`."""
    return {"program": rollout["response"], "tests": label(rollout), "max_execution_time": 1.0}
