"""One list of rows, sent through the doctor, the command line, the service and a trainer's route.

All five take the same rows, and refuse the others with a message that says the way out.
"""

import json
from typing import Any

import httpx
import pytest

from citemark_service.trainers.nemo_gym import response_of
from support.command_line import WriteRows, cli
from support.made_tasks import ROW

RESPONSE = "<answer>In 1963.</answer>"
JARGON = ("Field required", "valid tuple", "valid string", "instance of", "Input should", "Extra ")

TAKEN: list[dict[str, Any]] = [
    {},
    {"tool_output": ""},
    {"tool_output": None, "snippets": [{"id": "S1", "text": "It runs."}]},
    {"rubrics": [{"criterion": "Says 1963", "points": 5}, {"criterion": "Lies", "points": -10}]},
    {"rubrics": json.dumps(["Says 1963"])},
    {"rubrics": {"criterion": ["Says 1963", "Is short"]}},
    {"finish_reason": "stop", "run": "r", "step": 3, "group": "g"},
    {"citation_weight": 0.5},
    {"tool_output": None, "snippets": [{"id": "S1", "text": "It runs.", "rank": 3}]},
    {"tool_output": None, "snippets": ["It runs.", {"content": "It swims."}]},
    {"tool_output": None, "snippets": [{"id": 1, "text": "It runs."}] * 2},
    {"question": None, "conversation": [{"role": "user", "content": "When?"}]},
    {"question": None, "conversations": [{"from": "human", "value": "When?"}]},
    {"tool_output": [{"title": "Ferry", "url": "https://a.example", "text": "It runs."}]},
    {"tool_output": "", "docs": [{"id": "S1", "text": "It runs."}]},
    {"metadata": {"kind": "x", "weight": 2}},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"question": 7}, "question: must be text"),
    ({"rubrics": [{"criterion": "a", "points": "many"}]}, "points must be a number"),
    ({"rubrics": [{"criterion": "a", "severity": 3}]}, "'severity' may be a weight"),
    ({"rubrics": [{"description": "a", "weight": -1, "polarity": "positive"}]}, "negative weight"),
    ({"positive_rubrics": [{"weight": 1}]}, "needs a non-empty one of description"),
    ({"negative_rubrics": 7}, "must be a list of rubrics"),
    ({"tool_output": 7}, "tool_output: must be text"),
    ({"snippets": "[7]"}, "snippets"),
    ({"snippets": [{"id": "a"}]}, "text"),
    ({"citation_weight": -1}, "citation_weight"),
    ({"citation_weight": "heavy"}, "citation_weight: must be a number"),
    ({"static_rubrics": "v99"}, "v99"),
    ({"images": ["a.png"]}, "images: "),
    ({"question": "<image>\nWhat is this?"}, "question: has the place of an image"),
    ({"rubrics": ["a", "b"], "metadata": {"points": [-1, 2]}}, "holds several, like weights"),
    ({"rubrics": ["a"], "metadata": {"polarity": "negative"}}, "may be the sign of the rubrics"),
    ({"id": 7.5}, "id: must be text"),
    ({"id": [1]}, "id: must be text"),
    ({"tool_output": None, "documents": [{"id": 7.5, "text": "a"}]}, "id: must be text or a"),
    ({"positive_rubrics": None, "positive_rubric": ["a"]}, "positive_rubric"),
]


def row_of(change: dict[str, Any]) -> dict[str, Any]:
    row = {**ROW, **change}
    return {name: value for name, value in row.items() if value is not None}


def told_by(url: str, rows: WriteRows, row: dict[str, Any]) -> dict[str, str]:
    """What each of the five says of a row; empty where it is taken."""
    asked = {"input": [{"role": "user", "content": "Answer."}]}
    posts = {
        "/v1/score": {**row, "response": RESPONSE},
        "/verify": {**row, "responses_create_params": asked, "response": response_of(RESPONSE)},
    }
    told = {}
    for path, body in posts.items():
        answer = httpx.post(url + path, json=body, trust_env=False, timeout=60)
        told[path] = "" if answer.status_code == 200 else answer.text
    data = rows([{**row, "responses_create_params": asked}])
    flags: list[object] = ["--trainer", "nemo-gym", "--dataset", data]
    findings = json.loads(_run("doctor", *flags, "--json")[1])["findings"]
    told["doctor"] = "; ".join(
        f"{each['field']}: {each['problem']}" for each in findings if each["severity"] == "error"
    )
    status, _, errors = _run("convert", data, data.with_name("out.jsonl"), "--to", "citemark")
    told["convert"] = errors if status else ""
    status, _, errors = _run("score", rows([{**row, "response": RESPONSE}]))
    told["score"] = errors if status else ""
    return told


def _run(*arguments: object) -> tuple[int, str, str]:
    from click.testing import CliRunner

    from citemark_service.cli import main

    result = CliRunner().invoke(main, [str(each) for each in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("change", TAKEN, ids=str)
def test_a_row_is_taken_by_all(citemark_url: str, rows: WriteRows, change: dict[str, Any]) -> None:
    told = told_by(citemark_url, rows, row_of(change))
    assert set(told.values()) == {""}, told


@pytest.mark.parametrize(("change", "problem"), REFUSED, ids=str)
def test_a_row_is_refused_by_all_in_plain_words(
    citemark_url: str, rows: WriteRows, change: dict[str, Any], problem: str
) -> None:
    for place, text in told_by(citemark_url, rows, row_of(change)).items():
        plain = " ".join(text.replace('","message":"', ": ").split())
        assert text, f"{place} takes it"
        assert problem in plain, (place, text)
        assert not any(word in text for word in JARGON), (place, text)


def test_a_chat_in_a_text_s_place_is_known_as_one(rows: WriteRows) -> None:
    chat = [{"role": "user", "content": "When?"}]
    says = "looks like chat messages: the question is 'When?'"
    cli("score", rows([{**ROW, "question": chat, "response": ""}]), status=2, says=says)


def test_what_is_missing_is_named_without_jargon(rows: WriteRows) -> None:
    result = cli("score", rows([{"tool_output": ""}]), status=2)
    told = " ".join(result.stderr.split())
    assert "question: is neither in row nor in a prompt, or name its column: --map quest" in told
    assert "response: is missing, or name its column: --map response=COLUMN" in told
    assert not any(word in result.stderr for word in JARGON)
