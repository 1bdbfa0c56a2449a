"""Trainers' own protocols: one `POST` route for each dialect."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from citemark_service.web.dialects.dialect import Dialect, DialectOptions
from citemark_service.web.dialects.engine import DialectEngine
from citemark_service.web.documented import UNJUDGED, Fragment
from citemark_service.web.origin import CallerName

_POLICIES = {
    "fallback": "the mean reward of its prompt's other rollouts, with `judge_failed` 1.0",
    "mask": "the same, marked to be left out",
    "null": "a null reward",
    "http": "503 for the whole request",
}


def dialect_router(engine: DialectEngine, dialects: Sequence[Dialect]) -> APIRouter:
    """The routes, with their bodies documented by hand because they are read raw."""
    router = APIRouter(tags=["trainers"])
    for dialect in dialects:
        _add(router, engine, dialect)
    return router


def _add(router: APIRouter, engine: DialectEngine, dialect: Dialect) -> None:
    async def answer(
        request: Request,
        options: Annotated[DialectOptions, Query()],
        caller: CallerName = None,
    ) -> Response:
        body = await engine.answer(dialect, request, options, caller)
        return Response(body, media_type="application/json")

    router.add_api_route(
        dialect.path,
        answer,
        methods=["POST"],
        operation_id=dialect.name,
        summary=f"Reward rollouts for {dialect.client}",
        description=_described(dialect),
        response_model=None,
        responses={200: _answered(dialect), **UNJUDGED},
        openapi_extra=_body(dialect),
    )


def _described(dialect: Dialect) -> str:
    choices = "; ".join(
        f"`{name}`{' (default)' if name == dialect.on_error else ''}: {_POLICIES[name]}"
        for name in _POLICIES
        if name in dialect.permits
    )
    return (
        f"{dialect.doc}\n\nAnswers within {dialect.deadline_s:g} s, or `?deadline_s=`. A rollout "
        f"whose judge failed becomes, by `?on_error=`: {choices}. Posting the same again while "
        "it is judged, or after the client gave up, costs no second judgement."
    )


def _body(dialect: Dialect) -> Fragment:
    schema: dict[str, Any] = {"type": "object", "additionalProperties": True}
    content = {"application/json": {"schema": schema, "example": dict(dialect.request)}}
    return {"requestBody": {"required": True, "content": content}}


def _answered(dialect: Dialect) -> Fragment:
    return {
        "description": f"As {dialect.client} reads it.",
        "content": {"application/json": {"example": dialect.answer}},
    }
