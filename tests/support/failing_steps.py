"""Steps of the scripted service whose judge fails on some items."""

from typing import Any

from starlette.responses import Response

from citemark_schemas import Failure, FailureKind, ScoreRequest, ScoreResponse
from support.scripted_service import Step, scored


def failing(kind: FailureKind, *places: int) -> Step:
    """A step with no reward for the items at these places, and as reward the others' length."""

    failure = {
        "reward": None,
        "failure": Failure(kind=kind, message="said so", retryable=True),
    }

    def step(body: dict[str, Any]) -> Response:
        items = ScoreRequest.model_validate(body).items
        results = tuple(
            scored(item.id or "", float(len(item.response))).model_copy(
                update=failure if at in places else {}
            )
            for at, item in enumerate(items)
        )
        text = ScoreResponse(items=results).model_dump_json()
        return Response(text, media_type="application/json")

    return step
