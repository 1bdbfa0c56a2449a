"""The parts of the OpenAPI document that FastAPI cannot infer: bodies that are read raw."""

import json
from typing import Any

from citemark_schemas import Problem, ScoreResult
from citemark_service.examples import example
from citemark_service.parsing.parsed import Answer
from citemark_service.score.formula import add_reward

Fragment = dict[str, Any]
Responses = dict[int | str, Fragment]


def _component(name: str) -> Fragment:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem(description: str, *, retry: bool = False) -> Fragment:
    header = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
    headers = {"headers": {"Retry-After": header}} if retry else {}
    return {"model": Problem, "description": description, **headers}


_ROLLOUT = example("rollout")
_RESULT = example("result")
_BATCH = {"items": [_ROLLOUT], "verification_reward": 10.0, "deadline_s": 120.0}
_SCALED = {**_RESULT, "knobs": {**_RESULT["knobs"], "verification_reward": 10.0}}
_SCALED |= add_reward(ScoreResult.model_validate(_SCALED), Answer()).model_dump(
    mode="json", include={"reward", "terms"}
)

SCORE_BODY: Fragment = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_component("Rollout"), _component("ScoreRequest")]},
                "examples": {
                    "one rollout": {"value": _ROLLOUT},
                    "a batch": {"value": _BATCH},
                },
            }
        },
    }
}

SCORE_ANSWER: Fragment = {
    "description": "One result for one rollout; `{items: […]}` for a batch.",
    "content": {
        "application/json": {
            "examples": {
                "one rollout": {"value": _RESULT},
                "a batch": {"value": {"items": [_SCALED]}},
            }
        }
    },
}

STREAM_BODY: Fragment = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": _component("Rollout"),
                "example": json.dumps(_ROLLOUT) + "\n",
            }
        },
    }
}

STREAM_ANSWER: Fragment = {
    "description": "One `StreamLine` for each line that is not blank, in order of completion.",
    "content": {
        "application/x-ndjson": {
            "schema": _component("StreamLine"),
            "example": json.dumps({"line": 1, "type": "result", "result": _RESULT, "error": None})
            + "\n",
        }
    },
}

RESCORE_BODY: Fragment = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _component("RescoreRequest"),
                "example": {"run": "refiner-7", "citation_weight": 0.4},
            }
        },
    }
}

REFUSALS: Responses = {
    401: _problem("The service has an API token, and this is not it."),
    408: _problem("The body stopped arriving."),
    413: _problem("The body, a rollout or the number of items is over its limit."),
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
