"""Rows as data sets hold them, at `/v1/score`: understood with the right reward, or refused."""

import json
from typing import Any

import pytest

from support.running_service import Build, Running, Start

ONLY_OWN = "/v1/score?instance_rubrics_only=true&apply_citation_reward=false"
COOL = {"criterion": "Advises to cool the burn", "points": 5, "tags": ["axis:accuracy"]}
BUTTER = {"criterion": "Advises to put butter on the burn", "points": -10}


@pytest.mark.parametrize(
    "rubrics",
    [
        [COOL, BUTTER],
        json.dumps([COOL, BUTTER]),
        [json.dumps(COOL), json.dumps(BUTTER)],
        {"criterion": [COOL["criterion"], BUTTER["criterion"]], "points": [5, -10]},
        {"positive": [{"text": "a", "score": 5}], "negative": [{"text": "b", "score": 10}]},
        {"rubrics": [{"requirement": "a", "weight": 1}, {"name": "b", "weight": 2, "sign": "-"}]},
    ],
)
def test_a_defect_that_is_met_costs_its_weight(
    service: Running, rollout: Build, rubrics: Any
) -> None:
    # The judge finds everything met: 5 of the 15 points of weight are earned.
    answer = service.post(rollout(positive_rubrics=[], rubrics=rubrics), ONLY_OWN).json()
    assert answer["reward"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("key", ["importance", "max_points", "is_negative", "levels", "sub_tasks"])
def test_what_may_be_a_weight_or_sign_is_refused_until_it_is_knowingly_ignored(
    start: Start, rollout: Build, key: str
) -> None:
    row = rollout(rubrics=[{"criterion": "a", key: [{"criterion": "b"}]}])
    service = start(ignored_rubric_keys={"severity"})
    (detail,) = service.post(row).json()["details"]
    assert detail["loc"] == "rubrics[0]"
    for word in (repr(key), "'weight'", "CITEMARK_IGNORED_RUBRIC_KEYS"):
        assert word in detail["message"]
    sample = {"prompt": row["question"], "response": row["response"], "label": row}
    assert key in service.post(sample, "/rm").json()["details"][0]["message"]
    ignoring = start(ignored_rubric_keys={key})
    assert ignoring.post(row).json()["reward"] is not None
    assert ignoring.post(sample, "/rm").status_code == 200
