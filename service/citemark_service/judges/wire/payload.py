"""The body of a chat request, in the dialect of each kind of server."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal

from citemark_service.judges.chat import ChatRequest, Constraint

ConstraintStyle = Literal["structured_outputs", "json_schema"]

_SEED: Final = 0  # fixed, so that all samples of a group meet the same judge
_SCHEMA_NAME: Final = "verdicts"


def vllm_payload(
    request: ChatRequest, *, model: str, style: ConstraintStyle, priorities: bool
) -> dict[str, Any]:
    """For vLLM and the servers that ignore what they do not know.

    A priority is sent only to a server that schedules by `priorities`: vLLM refuses the field
    under any other policy.

    Thinking is off: a reasoning judge would spend `max_tokens` before its first verdict.
    """
    payload = _common(request, model) | {
        "max_tokens": request.max_tokens,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    if request.constraint is not None:
        payload |= _constraint(request.constraint, style)
    if request.open_ended:
        payload |= {"add_generation_prompt": False, "continue_final_message": True}
    if priorities and request.priority:
        payload["priority"] = request.priority
    return payload


def hosted_payload(request: ChatRequest, *, model: str) -> dict[str, Any]:
    """For hosted endpoints, which reject fields that are not in OpenAI's reference."""
    payload = _common(request, model) | {"max_completion_tokens": request.max_tokens}
    if request.constraint is not None:
        payload |= _constraint(request.constraint, "json_schema")
    return payload


def _common(request: ChatRequest, model: str) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "model": model,
        "messages": [{"role": each.role, "content": each.content} for each in request.messages],
        "temperature": request.temperature,
        "seed": _SEED,
    }
    if request.top_logprobs:
        payload |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    return payload


def _constraint(constraint: Constraint, style: ConstraintStyle) -> Mapping[str, Any]:
    if style == "structured_outputs":
        return {"structured_outputs": {"regex": constraint.regex}}
    schema = {
        "name": _SCHEMA_NAME,
        "strict": True,
        "schema": dict(constraint.json_schema),
    }
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def without_surrogates(request: ChatRequest) -> ChatRequest:
    """The request with lone surrogates as `?`: a rollout may hold some, UTF-8 cannot."""
    messages = tuple(
        dataclasses.replace(each, content=each.content.encode(errors="replace").decode())
        for each in request.messages
    )
    return dataclasses.replace(request, messages=messages)
