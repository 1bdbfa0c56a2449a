"""What all models of the contract have in common."""

from pydantic import BaseModel, ConfigDict


class ClosedModel(BaseModel):
    """An unknown field is an error, so that no misspelling of a caller goes unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ResponseModel(BaseModel):
    """An unknown field is ignored, so that an old client reads what a newer service answers."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        # The schema says what this version answers, which is nothing besides its fields.
        json_schema_extra={"additionalProperties": False},
    )
