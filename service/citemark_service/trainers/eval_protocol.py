"""eval-protocol: the last of `messages` is judged; the answer is an `EvaluateResult`.

`RewardFunction`'s client ignores `is_score_valid` and `error`, so the score after a judge's failure
is the fallback. eval-protocol's own server has the path `/reward`. CaRR posts to `/evaluate` with
`history` instead of `messages`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from citemark_schemas import SIGNALS, metrics_of
from citemark_schemas.transcript import reply_in
from citemark_service.examples import ENVELOPE_TEXT, QUESTION, RESPONSE
from citemark_service.trainers import carr
from citemark_service.trainers.faults import json_text_faults
from citemark_service.trainers.route import Body, Outcome, PostedRollout, Route, bad_body
from citemark_service.trainers.rows import MESSAGES, Row
from citemark_service.trainers.trainer import Trainer

_BOUNDLESS: Final = frozenset({"reward_std", "claims", "uncited_facts", "fabricated_ids"})
_UNIT: Final = tuple(name for name in SIGNALS if name not in _BOUNDLESS)
"""Metrics in [0, 1]; releases before 0.3 reject an answer with others."""
_OWN: Final = frozenset({"messages", "ground_truth", "kwargs"})


def parse_body(body: Body) -> list[PostedRollout]:
    if "history" in body:
        return carr.read(body)
    if "messages" not in body:
        raise bad_body(
            "body", "has neither history, as from CaRR, nor messages, as from eval-protocol"
        )
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        raise bad_body("messages", "must be a list of messages, the policy's last")
    last = messages[-1]
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        raise bad_body(f"messages[{len(messages) - 1}]", "must be the policy's, role assistant")
    places = {
        "ground_truth": body.get("ground_truth"),
        "kwargs": body.get("kwargs"),
        "body": {name: value for name, value in body.items() if name not in _OWN},
    }
    return [PostedRollout(places, reply_in([last]), messages[:-1])]


def write_answer(outcomes: Sequence[Outcome], body: Body) -> dict[str, Any]:
    (outcome,) = outcomes
    if "history" in body:
        return carr.write(outcome)
    failure, refusal = outcome.result.failure, outcome.result.refusal
    judged = failure is None
    reason = "judged against its rubrics and sources" if refusal is None else refusal.message
    signals = metrics_of(outcome.result)
    metric = {
        "is_score_valid": judged,
        "success": judged,  # the client's older name of `is_score_valid`
        "reason": "judged" if judged else "not judged",
    }
    return {
        "score": outcome.reward,
        "is_score_valid": judged,
        "reason": reason if judged else f"not judged: {outcome.ending}",
        "metrics": {name: {"score": signals[name], **metric} for name in _UNIT},
        "error": None if failure is None else failure.message,
    }


def make_posts(row: Row, response: str) -> Mapping[str, Body]:
    messages = row["messages"] if isinstance(row.get("messages"), list) else []
    said = {"role": "assistant", "content": response}
    body = {"messages": [*messages, said], "ground_truth": row.get("ground_truth")}
    return {"/evaluate": body}


_EVALUATE: Final = Route(
    name="evaluate",
    path="/evaluate",
    client="CaRR and eval-protocol",
    read=parse_body,
    write=write_answer,
    deadline_s=100.0,  # CaRR's client gives up after 120 s, eval-protocol's never
    request={
        "messages": [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": RESPONSE},
        ],
        "ground_truth": ENVELOPE_TEXT,
    },
    doc="CaRR: `remote_url` in `source_config.json`; rubrics in `remote_env_info` or in `label` "
    'as JSON. eval-protocol: `RewardFunction(mode="remote", endpoint=…)`; the row\'s envelope '
    "as `ground_truth` or as keywords.",
)
EVAL_PROTOCOL: Final = Trainer(
    name="eval-protocol",
    title="eval-protocol",
    carries="ground_truth, as JSON text",
    flags='RewardFunction(mode="remote", endpoint=".../evaluate")',
    columns={"messages": MESSAGES, "ground_truth": str},
    prompt_at=("messages",),
    text_prompt=False,
    text_at="ground_truth",
    faults=lambda row: json_text_faults(
        row.get("ground_truth"), "ground_truth", "its own server takes text alone"
    ),
    routes=(_EVALUATE, replace(_EVALUATE, name="reward", path="/reward")),
    posts=make_posts,
    reward=lambda answer: float(answer["score"]) if answer.get("is_score_valid", True) else None,
)
