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


FEVER = {"role": "user", "content": "My son has a fever of 40 °C."}
AGE = {"role": "assistant", "content": "How old is he?"}
NOW = {"role": "user", "content": "Three. What now?"}
FLUIDS = {"title": "Fevers", "text": "Fluids help.", "url": "https://a.example"}
CHAT = [{"role": "system", "content": "Cite."}, FEVER, AGE, NOW]
SAID = "<answer><snippet id=1>Fluids help.</snippet></answer>"
ASKED = {
    "conversation": [FEVER, AGE],
    "question": NOW["content"],
    "snippets": [{"id": "1", **FLUIDS}],
    "response": SAID,
}


@pytest.mark.parametrize(
    "row",
    [
        {**ASKED, "id": 7},
        {"messages": [*CHAT, {"role": "assistant", "content": SAID}], "documents": [FLUIDS]},
        {
            "prompt": CHAT,
            "response": SAID,
            "ctxs": [{**FLUIDS, "id": 1, "score": 0.5}],
            "prompt_id": 7,
        },
        {
            "query": NOW["content"],
            "conversation": [FEVER, AGE],
            "docs": [{"content": "Fluids help.", **{key: FLUIDS[key] for key in ("title", "url")}}],
            "response": SAID,
        },
    ],
)
def test_one_row_under_other_names_is_the_same_rollout(service: Running, row: Any) -> None:
    plain = service.post(ASKED).json()
    (streamed,) = service.post(row, "/v1/score/stream").text.splitlines()
    results = [service.post(row).json(), service.post({"items": [row]}).json()["items"][0]]
    for result in (*results, json.loads(streamed)["result"]):
        assert result["rollout_hash"] == plain["rollout_hash"]
        assert result["citation"]["fabricated"] == 0
        assert result["id"] in ("0", "7")
    assert service.judge.conversations[NOW["content"]] == [FEVER["content"], AGE["content"]]


@pytest.mark.parametrize("path", ["/rm", "/get_reward", "/evaluate", "/verify"])
def test_a_trainers_chat_reaches_the_judge(service: Running, path: str) -> None:
    row = {"documents": [FLUIDS], "rubrics": ["Advises fluids"]}
    now = {"role": "user", "content": f"Three. What now, {path}?"}
    chat = [*CHAT[:-1], now]
    templated = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in chat)
    said = {"role": "assistant", "content": SAID}
    bodies: dict[str, Any] = {
        "/rm": {"prompt": chat, "response": SAID, "label": row},
        "/get_reward": {"query": [templated + SAID], "prompts": [templated], "labels": [row]},
        "/evaluate": {"messages": [*chat, said], "ground_truth": row},
        "/verify": {
            "responses_create_params": {"input": chat},
            "response": {"output": [{"type": "message", **said}]},
            **row,
        },
    }
    assert service.post(bodies[path], path).status_code == 200
    assert service.judge.conversations[now["content"]] == [FEVER["content"], AGE["content"]]


@pytest.mark.parametrize(
    ("extra", "loc", "word"),
    [
        ({"query": "Another?"}, "query", "'question'"),
        ({"questoin": "x"}, "questoin", "'question'"),
        ({"documents": ["x"]}, "documents", "'snippets'"),
    ],
)
def test_what_says_two_things_or_nothing_known_is_refused_by_name(
    service: Running, extra: Any, loc: str, word: str
) -> None:
    answer = service.post({"items": [ASKED, {**ASKED, **extra}]})
    assert answer.status_code == 422
    (detail,) = answer.json()["details"]
    assert detail["loc"] == f"items[1].{loc}"
    assert word in detail["message"]
