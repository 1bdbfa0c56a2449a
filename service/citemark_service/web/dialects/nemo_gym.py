"""NeMo Gym: `POST /verify`, which NeMo RL, verifiers, prime-rl and axolotl speak too. Pure.

The whole row is posted, the policy's items beside it as `response`, and both come back with the
reward. A sample whose judge failed is marked in every way that some release reads:
`mask_sample` on top and in `instance_config`, `failure_kind`, and `_ng_failure_class`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from citemark_schemas import Failure, FailureKind, metrics_of
from citemark_schemas.transcript import reply_in, sources_in
from citemark_service.web.dialects.dialect import Asked, Dialect, Outcome, Sample, misshapen
from citemark_service.web.dialects.examples import ENVELOPE, QUESTION, RESPONSE, REWARD
from citemark_service.web.dialects.items import finish_reason, tool_answers

_PARAMS: Final = "responses_create_params"
_RESPONSE: Final = "response"
_CONFIG: Final = "instance_config"
_ROUTING: Final = ("_ng_failure_class", "_ng_failure_judge_error")
"""Left over in rows that are verified again after a failure."""
_FAILED: Final = "judge_failed"
_KINDS: Final[Mapping[FailureKind, str]] = {
    FailureKind.TRUNCATED: "judge_unparseable",
    FailureKind.UNREADABLE: "judge_unparseable",
    FailureKind.INVALID_VERDICT: "judge_unparseable",
    FailureKind.SHUTTING_DOWN: "shutdown",
}
"""In Gym's own words; whatever is not here is `judge_failed`."""


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, Mapping):
        raise misshapen(name, "must be an object")
    return value


def _read(body: Mapping[str, Any]) -> list[Sample]:
    params, response = _object(body, _PARAMS), _object(body, _RESPONSE)
    output = response.get("output")
    if not isinstance(output, list):
        raise misshapen(f"{_RESPONSE}.output", "must be a list of items")
    prompt, told = params.get("input"), tool_answers(output)
    row = {name: value for name, value in body.items() if name not in (_PARAMS, _RESPONSE)}
    row["finish_reason"] = finish_reason(response)
    if told is not None:
        row["tool_output"] = "\n".join(filter(None, (_given(row, prompt), told)))
    # Who may call tools and calls none has found nothing, which is no fault of the row.
    fallback = (sources_in(prompt) or "") if params.get("tools") else None
    return [Sample({"row": row}, reply_in(output), prompt, fallback)]


def _given(row: Mapping[str, Any], prompt: object) -> str | None:
    """The sources that the policy had before it called a tool."""
    own = row.get("tool_output")
    return own if isinstance(own, str) else sources_in(prompt)


def _write(outcomes: Sequence[Outcome], asked: Asked) -> dict[str, Any]:
    (outcome,) = outcomes
    echo = {name: value for name, value in asked.body.items() if name not in _ROUTING}
    failure = outcome.result.failure
    masked = failure is not None and asked.on_error == "mask"
    return {
        **echo,
        **_config(echo.get(_CONFIG), masked=masked),
        "reward": outcome.reward,
        **metrics_of(outcome.result),
        "mask_sample": masked,
        **_reason(failure),
        **(dict(zip(_ROUTING, (_FAILED, _told(failure)), strict=True)) if masked else {}),
    }


def _config(config: object, *, masked: bool) -> dict[str, Any]:
    """What earlier releases read; a row's own config is left alone as far as it can be."""
    held = dict(config) if isinstance(config, Mapping) else {}
    if masked or "mask_sample" in held:
        return {_CONFIG: {**held, "mask_sample": masked}}
    return {}


def _reason(failure: Failure | None) -> dict[str, str | None]:
    kind = None if failure is None else _KINDS.get(failure.kind, _FAILED)
    return {"failure_kind": kind, "failure_reason": _told(failure)}


def _told(failure: Failure | None) -> str | None:
    return None if failure is None else f"{failure.kind.value}: {failure.message}"


_ITEM: Final = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": RESPONSE, "annotations": []}],
}
_BODY: Final = {
    _PARAMS: {"input": [{"role": "user", "content": QUESTION}]},
    **{name: value for name, value in ENVELOPE.items() if name != "question"},
    _RESPONSE: {
        "id": "resp_1",
        "created_at": 1767225600,
        "model": "policy",
        "object": "response",
        "output": [_ITEM],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    },
}

NEMO_GYM: Final = Dialect(
    name="nemo_gym",
    path="/verify",
    client="NeMo Gym",
    read=_read,
    write=_write,
    deadline_s=50.0,  # verifiers gives up after 60 s, Gym itself never
    on_error="mask",
    permits=frozenset({"mask", "fallback", "http"}),
    request=_BODY,
    answer={
        **_BODY,
        "reward": REWARD,
        "mask_sample": False,
        "failure_kind": None,
        "failure_reason": None,
    },
    doc="A resources server of NeMo Gym. Rubrics are keys of the row; sources are what tools "
    "answered in `response`, then the row's own or the prompt's. axolotl needs "
    "`nemo_gym_verify_timeout: 60`.",
)
"""See the module's docstring."""

VERIFIERS: Final = replace(
    NEMO_GYM,
    name="verifiers",
    path="/strict/verify",
    client="verifiers",
    on_error="http",
    doc='`resources_url = "http://HOST:8000/strict"` in the task of a `nemo-gym` taskset. '
    "verifiers reads no mask, but leaves a rollout out whose scoring raised: so what nobody "
    "judged is answered with 503.",
)
"""The same for a client that drops a rollout where it gets an error."""
