"""NeMo Gym: `POST /verify`, also used by NeMo RL, verifiers, prime-rl and axolotl.

The client posts the row and, as `response`, the policy's items; the answer repeats both and adds
the reward. A failed judge is marked in every way that some release reads: `mask_sample` on top
and in `instance_config`, `failure_kind`, and `_ng_failure_class`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from citemark_schemas import FailureKind, metrics_of
from citemark_schemas.transcript import reply_in, sources_in
from citemark_service.examples import ENVELOPE, QUESTION, RESPONSE, RESULT
from citemark_service.trainers.faults import Fault, error
from citemark_service.trainers.gym import finish_reason, tool_answers
from citemark_service.trainers.route import Body, Outcome, PostedRollout, Route, bad_body
from citemark_service.trainers.rows import FIELDS, MESSAGES, Row
from citemark_service.trainers.trainer import Trainer

PARAMS: Final = "responses_create_params"
_CONFIG: Final = "instance_config"
# Also left over in rows that are verified again after a failure.
_ROUTING: Final = ("_ng_failure_class", "_ng_failure_judge_error")
_KINDS: Final[Mapping[FailureKind, str]] = {
    FailureKind.TRUNCATED: "judge_unparseable",
    FailureKind.UNREADABLE: "judge_unparseable",
    FailureKind.INVALID_VERDICT: "judge_unparseable",
    FailureKind.SHUTTING_DOWN: "shutdown",
}
"""Gym's names of failures; all other kinds are `judge_failed`."""


def parse_body(body: Body) -> list[PostedRollout]:
    params, response = body.get(PARAMS), body.get("response")
    if not isinstance(params, Mapping):
        raise bad_body(PARAMS, "must be an object")
    if not isinstance(response, Mapping):
        raise bad_body("response", "must be an object")
    output = response.get("output")
    if not isinstance(output, list):
        raise bad_body("response.output", "must be a list of items")
    prompt, answers = params.get("input"), tool_answers(output)
    row = {name: value for name, value in body.items() if name not in (PARAMS, "response")}
    row["finish_reason"] = finish_reason(response)
    if answers is not None:
        own = row.get("tool_output")
        before = own if isinstance(own, str) else sources_in(prompt)
        row["tool_output"] = "\n".join(filter(None, (before, answers)))
    # A policy that has tools and calls none found no sources, which is no fault of the row.
    fallback = (sources_in(prompt) or "") if params.get("tools") else None
    return [PostedRollout({"row": row}, reply_in(output), prompt, fallback)]


def write_answer(outcomes: Sequence[Outcome], body: Body) -> dict[str, Any]:
    (outcome,) = outcomes
    failure = outcome.result.failure
    masked = outcome.masked
    reason = None if failure is None else f"{failure.kind.value}: {failure.message}"
    answer = {name: value for name, value in body.items() if name not in _ROUTING}
    # Earlier releases read the mask from the config. A row's own config is otherwise unchanged.
    config = answer.get(_CONFIG)
    config = config if isinstance(config, Mapping) else {}
    if masked or "mask_sample" in config:
        answer[_CONFIG] = {**config, "mask_sample": masked}
    return {
        **answer,
        "reward": outcome.reward,
        **metrics_of(outcome.result),
        "mask_sample": masked,
        "failure_kind": None if failure is None else _KINDS.get(failure.kind, "judge_failed"),
        "failure_reason": reason,
        **(dict(zip(_ROUTING, ("judge_failed", reason), strict=True)) if masked else {}),
    }


def find_faults(row: Row) -> Iterator[Fault]:
    for name in ("response", "reward"):
        if name in row:
            yield error(name, "is a key that Gym adds itself", "rename or drop it")


def response_of(text: str) -> dict[str, Any]:
    """A completed response with one message, in the format of the Responses API."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
    return {
        "id": "resp_1",
        "created_at": 1767225600,
        "model": "policy",
        "object": "response",
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def make_posts(row: Row, response: str) -> Mapping[str, Body]:
    verify = {**row, "response": response_of(response)}
    return {"/seed_session": row, "/verify": verify}


def read_reward(answer: Any) -> float | None:
    """The reward of a `/verify` answer; `ValueError` if it does not echo the request."""
    if not {PARAMS, "response"} <= answer.keys():
        raise ValueError(f"the answer does not echo {PARAMS} and response")
    return None if answer.get("mask_sample") else float(answer["reward"])


_BODY: Final = {
    PARAMS: {"input": [{"role": "user", "content": QUESTION}]},
    **{name: value for name, value in ENVELOPE.items() if name != "question"},
    "response": response_of(RESPONSE),
}
VERIFY: Final = Route(
    name="nemo_gym",
    path="/verify",
    client="NeMo Gym",
    read=parse_body,
    write=write_answer,
    deadline_s=50.0,  # verifiers gives up after 60 s, Gym itself never
    on_error="mask",
    permits=frozenset({"mask", "fallback", "http"}),
    request=_BODY,
    answer={
        **_BODY,
        "reward": RESULT.reward,
        "mask_sample": False,
        "failure_kind": None,
        "failure_reason": None,
    },
    doc="A resources server of NeMo Gym. Rubrics are keys of the row; sources are what tools "
    "answered in `response`, then the row's own or the prompt's. axolotl needs "
    "`nemo_gym_verify_timeout: 60`.",
)
NEMO_GYM: Final = Trainer(
    name="nemo-gym",
    title="NeMo Gym",
    carries="keys of the row",
    flags="the data set of a resources server whose /verify is Citemark's",
    columns={PARAMS: {"input": MESSAGES}, **FIELDS},
    prompt_at=(f"{PARAMS}.input",),
    rest="row",
    faults=find_faults,
    one_type=False,
    suffixes=(".jsonl",),
    routes=(VERIFY,),
    posts=make_posts,
    reward=read_reward,
)
