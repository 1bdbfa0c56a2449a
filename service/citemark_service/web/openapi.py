"""The OpenAPI document, with what FastAPI cannot infer: raw bodies and refusals."""

import json
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from citemark_schemas import (
    Problem,
    RescoreRequest,
    Rollout,
    ScoreRequest,
    ScoreResult,
    StreamLine,
)
from citemark_service.examples import example
from citemark_service.judges.tasks import Judge
from citemark_service.parsing.parsed import Answer
from citemark_service.score.formula import add_reward
from citemark_service.web.admission import Admission

Fragment = dict[str, Any]
Responses = dict[int | str, Fragment]

_COMPONENT = "#/components/schemas/{model}"
# OpenAPI has no word for the fourth way, `/t/TOKEN` before a path.
_TOKENS: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "token"},
}


class Citemark(FastAPI):
    """The application. Its OpenAPI document also holds the raw bodies' components."""

    def __init__(self, *, admission: Admission, judge: Judge, **options: Any) -> None:
        super().__init__(**options)
        self.admission = admission
        self.judge = judge

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            # FastAPI collects only models of parameters and answers that it handles itself.
            _, raw = models_json_schema(
                [
                    (Rollout, "validation"),
                    (ScoreRequest, "validation"),
                    (StreamLine, "serialization"),
                    (RescoreRequest, "validation"),
                ],
                ref_template=_COMPONENT,
            )
            document["components"]["schemas"].update(raw["$defs"])
            document["components"]["securitySchemes"] = _TOKENS
            document["security"] = [{}, *({name: []} for name in _TOKENS)]  # {}: none is needed
        return super().openapi()


def raw_body(schema: Fragment, media: str = "application/json", **examples: Any) -> Fragment:
    """An operation's `requestBody`; `examples` is `example` or `examples`."""
    content = {media: {"schema": schema, **examples}}
    return {"requestBody": {"required": True, "content": content}}


def _component(name: str) -> Fragment:
    return {"$ref": _COMPONENT.format(model=name)}


def _problem(description: str, *, retry: bool = False) -> Fragment:
    header = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
    headers = {"headers": {"Retry-After": header}} if retry else {}
    return {"model": Problem, "description": description, **headers}


_ROLLOUT = example("rollout")
_RESULT = example("result")
_BATCH = {"items": [_ROLLOUT], "verification_reward": 10.0, "deadline_s": 120.0}
# The same result at ten times the scale, so that it fits the example of a batch.
_SCALED = {**_RESULT, "knobs": {**_RESULT["knobs"], "verification_reward": 10.0}}
_SCALED |= add_reward(ScoreResult.model_validate(_SCALED), Answer()).model_dump(
    mode="json", include={"reward", "reward_std", "terms"}
)
_LINE = {"line": 1, "type": "result", "result": _RESULT, "error": None}

SCORE_BODY = raw_body(
    {"anyOf": [_component("Rollout"), _component("ScoreRequest")]},
    examples={"one rollout": {"value": _ROLLOUT}, "a batch": {"value": _BATCH}},
)
_SCORED = {"one rollout": {"value": _RESULT}, "a batch": {"value": {"items": [_SCALED]}}}
SCORE_ANSWER: Fragment = {
    "description": "One result for one rollout; `{items: […]}` for a batch.",
    "content": {"application/json": {"examples": _SCORED}},
}
STREAM_BODY = raw_body(
    _component("Rollout"), "application/x-ndjson", example=json.dumps(_ROLLOUT) + "\n"
)
STREAM_ANSWER: Fragment = {
    "description": "One `StreamLine` for each line that is not blank, in order of completion.",
    "content": {
        "application/x-ndjson": {
            "schema": _component("StreamLine"),
            "example": json.dumps(_LINE) + "\n",
        }
    },
}
RESCORE_BODY = raw_body(
    _component("RescoreRequest"), example={"run": "refiner-7", "citation_weight": 0.4}
)

REFUSALS: Responses = {
    401: _problem("The service has an API token, and this is not it."),
    403: _problem("A browser sent this for another site."),
    408: _problem("The body stopped arriving."),
    413: _problem("The body, its values, a rollout or the number of items is over its limit."),
    415: _problem("Its `Content-Encoding` is neither gzip nor deflate; a stream takes none."),
    422: _problem("Malformed; `details` name each item and field."),
    429: _problem("As much is in flight as the service accepts.", retry=True),
    500: _problem("A defect of the service; the request id finds it in the log."),
    503: _problem("The service is stopping.", retry=True),
}
UNJUDGED: Responses = {
    **REFUSALS,
    503: _problem("A rollout has no verdict and `on_error` is `http`, or stopping.", retry=True),
}
UNKEPT: Responses = {
    **REFUSALS,
    404: _problem("The service keeps no ledger, or no rollout in it is of that place."),
    413: _problem("The body is too long, or the rollouts are more than a request may look at."),
    429: _problem("Another comparison is running.", retry=True),
    503: _problem("The ledger cannot be read now, or the service is stopping.", retry=True),
}
UNREADY: Responses = {
    503: _problem("The judge cannot be reached (`error` is the failure's kind), or stopping.")
}
