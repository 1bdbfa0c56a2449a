"""An old client reads what a newer service answers; a service refuses what it does not know."""

import json
from importlib import resources
from typing import Any

import pytest
from pydantic import ValidationError

from citemark_schemas import Knobs, Problem, RescoreResponse, Rollout, ScoreRequest, ScoreResult

EXAMPLES = resources.files("citemark_service.examples")
RESULT = json.loads((EXAMPLES / "result.json").read_text())
ROLLOUT = json.loads((EXAMPLES / "rollout.json").read_text())
COMPARED = {
    **dict.fromkeys(("rollouts", "groups", "reordered", "new_best"), 1), "complete": True,
    **dict.fromkeys(("mean_old", "mean_new", "correlation", "turned"), 1.0),
    "steps": [{"run": "a", "step": 1, "rollouts": 1, "mean_old": 1.0, "mean_new": 1.0}],
    "moves": [], "left_out": [{"reason": "why", "rollouts": 1}],
}  # fmt: skip
FAILED = {
    **RESULT,
    "failure": {"kind": "judge_timeout", "message": "late", "retryable": True},
    "refusal": {"kind": "not_stopped", "message": "cut off"},
}


def newer(value: Any, name: str = "") -> Any:
    """The same with one field more in every object of the contract, however deep."""
    if isinstance(value, list):
        return [newer(each) for each in value]
    if not isinstance(value, dict) or name in ("checks", "contributing"):  # keys are of the data
        return value
    more = {"of_a_newer_service": {"anything": 1}}
    return {name: newer(each, name) for name, each in value.items()} | more


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (ScoreResult, FAILED),
        (RescoreResponse, COMPARED),
        (Problem, {"error": "busy", "message": "later", "details": [{"loc": "a", "message": "b"}]}),
    ],
)
def test_fields_of_a_newer_service_are_ignored(model, answer):
    assert model.model_validate_json(json.dumps(newer(answer))) == model.model_validate(answer)


@pytest.mark.parametrize(
    ("model", "body"), [(Rollout, ROLLOUT), (Knobs, {}), (ScoreRequest, {"items": [ROLLOUT]})]
)
def test_a_misspelt_field_of_a_request_is_an_error(model, body):
    model.model_validate(body)
    with pytest.raises(ValidationError, match="citation_wieght"):
        model.model_validate({**body, "citation_wieght": 1.0})
