"""The HTTP contract as written down: frozen, complete, and with examples that hold.

After a change that is meant: `PYTHONPATH=tests python -m support.openapi_document`.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from citemark_schemas import Knobs, Rollout, ScoreRequest, ScoreResponse, ScoreResult, StreamLine
from citemark_service.rescoring.compare import Change, rescore
from citemark_service.score.rollout import rollout_hash
from support.openapi_document import SNAPSHOT, document


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return document()


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from walk(child)


def operations(openapi: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    }


def examples(openapi: dict[str, Any], side: str) -> dict[str, Any]:
    """The examples of `POST /v1/score`; `side` is `requestBody` or `200`."""
    score = operations(openapi)["POST /v1/score"]
    content = {**score, **score["responses"]}[side]["content"]["application/json"]
    return {name: entry["value"] for name, entry in content["examples"].items()}


def test_the_contract_is_the_one_agreed_on(openapi):
    assert openapi == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_reference_leads_somewhere(openapi):
    components = openapi["components"]["schemas"]
    references = {node["$ref"] for node in walk(openapi) if isinstance(node.get("$ref"), str)}
    assert len(references) > 10
    assert {each.removeprefix("#/components/schemas/") for each in references} <= set(components)


def test_every_field_is_described(openapi):
    schemas = openapi["components"]["schemas"]
    bare = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, told in schema.get("properties", {}).items()
        if not told.get("description")
    ]
    assert bare == []


def test_every_refusal_is_a_problem(openapi):
    refusals = [
        response["content"]["application/json"]["schema"]
        for operation in operations(openapi).values()
        for status, response in operation["responses"].items()
        if int(status) >= 400
    ]
    assert len(refusals) >= 12
    assert refusals == [{"$ref": "#/components/schemas/Problem"}] * len(refusals)


def test_the_request_examples_are_requests(openapi):
    body = examples(openapi, "requestBody")
    Rollout.model_validate(body["one rollout"])
    ScoreRequest.model_validate(body["a batch"])
    stream = operations(openapi)["POST /v1/score/stream"]["requestBody"]["content"]
    Rollout.model_validate_json(stream["application/x-ndjson"]["example"])


def test_the_answer_examples_obey_the_formula(openapi):
    rollout = Rollout.model_validate(examples(openapi, "requestBody")["one rollout"])
    one = ScoreResult.model_validate(examples(openapi, "200")["one rollout"])
    (scaled,) = ScoreResponse.model_validate(examples(openapi, "200")["a batch"]).items
    line = operations(openapi)["POST /v1/score/stream"]["responses"]["200"]["content"]
    streamed = StreamLine.model_validate_json(line["application/x-ndjson"]["example"])
    assert streamed.result == one
    for result in (one, scaled):
        again = rescore(rollout, result, Change(Knobs(), {}))
        assert again.reward == pytest.approx(result.reward)
        assert again.citation == result.citation


def test_the_example_answer_answers_the_example_request(openapi):
    request = Rollout.model_validate(examples(openapi, "requestBody")["one rollout"])
    answer = ScoreResult.model_validate(examples(openapi, "200")["one rollout"])
    assert answer.id == request.id
    assert answer.rollout_hash == rollout_hash(request)
    for claim in answer.claims:
        start, end = claim.span
        assert claim.text in request.response[start:end]
    titles = {criterion.title for criterion in answer.rubrics if criterion.source == "instance"}
    assert titles == {criterion.title for criterion in request.criteria}
