"""The application class: FastAPI with the schemas of the bodies that it does not read itself."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from citemark_schemas import RescoreRequest, Rollout, ScoreRequest, StreamLine

_TEMPLATE = "#/components/schemas/{model}"
_TOKENS: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "token"},
}
"""How the API token is sent, where the service has one; `/t/TOKEN` before a path does too."""


class Citemark(FastAPI):
    """An application whose OpenAPI document also holds the raw bodies' components."""

    def openapi(self) -> dict[str, Any]:
        """The document; built once."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"].update(_raw_components())
            document["components"]["securitySchemes"] = _TOKENS
            document["security"] = [{}, *({name: []} for name in _TOKENS)]  # {}: none is needed
        return super().openapi()


def _raw_components() -> dict[str, Any]:
    _, schema = models_json_schema(
        [
            (Rollout, "validation"),
            (ScoreRequest, "validation"),
            (StreamLine, "serialization"),
            (RescoreRequest, "validation"),
        ],
        ref_template=_TEMPLATE,
    )
    components: dict[str, Any] = schema["$defs"]
    return components
