"""`/docs`: the OpenAPI document as a page that loads nothing from elsewhere."""

import asyncio
import json

from fastapi import APIRouter, FastAPI, Request, Response

from citemark_service.web.ui.templates import Templates, to_response


def docs_router(templates: Templates) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    page: str | None = None

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        nonlocal page
        if page is None:  # it takes a tenth of a second
            page = await asyncio.to_thread(render, request.app)
        return to_response(page)

    def render(app: FastAPI) -> str:
        return templates.html("docs", document=app.openapi(), to_json=to_json, up="ui/")

    return router


def to_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
