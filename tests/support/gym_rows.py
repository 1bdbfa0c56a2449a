"""Rollouts as NeMo Gym posts them, made from our own: rows, and items of the Responses API."""

import json
from collections.abc import Mapping
from typing import Any

from support.examples import EXAMPLE_ROWS

ROLLOUTS: list[dict[str, Any]] = [
    {name: value for name, value in row.items() if name != "metadata"} for row in EXAMPLE_ROWS
]
"""The repository's examples, without what is never judged."""


def said(text: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": content, **fields}


def called(name: str, call_id: str, **arguments: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": json.dumps(arguments),
    }


def answered(output: Any, call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output, **fields}


def response_of(*items: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "created_at": 1767225600.0,
        "model": "policy",
        "object": "response",
        "output": list(items),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **fields,
    }


def verify_body(rollout: Mapping[str, Any], **row: Any) -> dict[str, Any]:
    """A `/verify` body: sources and rubrics are the row's, the question is the prompt's."""
    carried = {
        name: value for name, value in rollout.items() if name not in ("question", "response")
    }
    return {
        "responses_create_params": {"input": [{"role": "user", "content": rollout["question"]}]},
        **carried,
        **row,
        "response": response_of(said(rollout["response"])),
    }
