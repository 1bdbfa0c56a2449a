"""eval-protocol: messages, of which the last is judged; the answer is an `EvaluateResult`. Pure.

The client of its `RewardFunction` reads neither `is_score_valid` nor `error`, so the score of a
rollout that nobody judged is what stands in for it; whoever reads them leaves the rollout out.
"""

from collections.abc import Mapping
from typing import Any, Final

from citemark_schemas import SIGNALS, Failure, metrics_of
from citemark_schemas.transcript import reply_in
from citemark_service.web.dialects.dialect import Outcome, Sample, misshapen
from citemark_service.web.dialects.examples import (
    ENVELOPE_TEXT,
    QUESTION,
    RESPONSE,
    REWARD,
    SIGNALS_SHOWN,
)

_COUNTS: Final = frozenset({"claims", "uncited_facts", "fabricated_ids"})
_UNIT: Final = tuple(name for name in SIGNALS if name not in _COUNTS)
"""Metrics in [0, 1]; releases before 0.3 refuse an answer with any other."""
_OWN: Final = frozenset({"messages", "ground_truth", "kwargs"})


def read(body: Mapping[str, Any]) -> list[Sample]:
    """The last message as the response, the rest as its prompt.

    Raises:
        InvalidRequest: the messages do not end with the policy's.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise misshapen("messages", "must be a list of messages, the policy's last")
    last = messages[-1]
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        raise misshapen(f"messages[{len(messages) - 1}]", "must be the policy's, role assistant")
    keywords = {name: value for name, value in body.items() if name not in _OWN}
    places = {name: body.get(name) for name in ("ground_truth", "kwargs")}
    return [Sample({**places, "body": keywords}, reply_in([last]), messages[:-1])]


def write(outcome: Outcome, _: Mapping[str, Any]) -> dict[str, Any]:
    """An `EvaluateResult`, with `success` for the client's older name of `is_score_valid`."""
    failure = outcome.result.failure
    metrics = metrics_of(outcome.result)
    return {
        "score": outcome.reward,
        "is_score_valid": failure is None,
        "reason": _reason(outcome),
        "metrics": {name: _metric(metrics[name], failure) for name in _UNIT},
        "error": None if failure is None else failure.message,
    }


def _reason(outcome: Outcome) -> str:
    if outcome.result.failure is not None:
        return f"not judged: {outcome.told}"
    if outcome.result.refusal is not None:
        return outcome.result.refusal.message
    return "judged against its rubrics and sources"


def _metric(score: float, failure: Failure | None) -> dict[str, Any]:
    valid = failure is None
    return {
        "score": score,
        "is_score_valid": valid,
        "success": valid,
        "reason": "judged" if valid else "not judged",
    }


REQUEST: Final = {
    "messages": [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": RESPONSE},
    ],
    "ground_truth": ENVELOPE_TEXT,
}
"""An example body."""

ANSWER: Final = {
    "score": REWARD,
    "is_score_valid": True,
    "reason": "judged against its rubrics and sources",
    "metrics": {name: _metric(SIGNALS_SHOWN[name], None) for name in _UNIT},
    "error": None,
}
"""What `REQUEST` is answered with."""
