"""Errors as answers: one table from exception to response."""

import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from citemark_schemas import Problem, ProblemDetail, to_details
from citemark_service.errors import InvalidRequest, RequestError, ShuttingDown

_CLIENT_CLOSED = 499  # what proxies log for a client that did not wait; never on the wire
_NAMES = {404: "not_found", 405: "method_not_allowed"}

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


def to_problem(error: RequestError) -> Problem:
    details = error.details or (ProblemDetail(loc="body", message=str(error)),)
    return Problem(error=error.error, message=str(error), details=details)


def to_response(status: int, body: Problem, headers: dict[str, str] | None = None) -> Response:
    content = body.model_dump_json().encode()
    return Response(content, status, headers, media_type="application/json")


def to_refusal(error: RequestError) -> Response:
    headers = {}
    if error.retry_after_s is not None:
        # In whole seconds; 0 would ask for a retry at once.
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, ShuttingDown):
        headers["Connection"] = "close"
    return to_response(error.status, to_problem(error), headers)


async def _answer_refusal(_: Request, error: RequestError) -> Response:
    return to_refusal(error)


async def _answer_invalid(request: Request, error: RequestValidationError) -> Response:
    return await _answer_refusal(request, InvalidRequest.of(to_details(error.errors())))


async def _answer_http(_: Request, error: HTTPException) -> Response:
    name = _NAMES.get(error.status_code, "http_error")
    headers = dict(error.headers) if error.headers else None
    return to_response(error.status_code, Problem(error=name, message=str(error.detail)), headers)


async def _answer_nobody(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=_CLIENT_CLOSED)


async def _answer_defect(request: Request, _: Exception) -> Response:
    # The server logs the traceback under this id; the error itself could quote a rollout.
    request_id = getattr(request.state, "request_id", "unknown")
    body = Problem(error="internal_error", message=f"unexpected error; request {request_id}")
    return to_response(500, body, {"X-Request-ID": request_id})


# Whatever their order, the most specific class wins.
HANDLERS: dict[int | type[Exception], Handler] = {
    RequestError: _answer_refusal,
    RequestValidationError: _answer_invalid,
    HTTPException: _answer_http,
    ClientDisconnect: _answer_nobody,
    Exception: _answer_defect,
}
