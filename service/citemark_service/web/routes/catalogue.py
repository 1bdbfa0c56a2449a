"""What this service is and judges by: `/` and `/v1/rubrics`."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from citemark_rubrics import RubricLibrary
from citemark_schemas import Criterion
from citemark_service.judges.tasks import JudgeIdentity


class RubricSetView(BaseModel):
    """One static set as `static_rubrics` names it."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    """Hash of the criteria; equal versions judge alike."""
    description: str
    criteria: tuple[Criterion, ...]


class RubricList(BaseModel):
    """All static sets, by name."""

    model_config = ConfigDict(frozen=True)

    sets: tuple[RubricSetView, ...]


class Index(BaseModel):
    """Where things are."""

    model_config = ConfigDict(frozen=True)

    service: str = "citemark"
    version: str
    judge: str
    score: str = "/v1/score"
    stream: str = "/v1/score/stream"
    rubrics: str = "/v1/rubrics"
    docs: str = "/docs"


def catalogue_router(*, library: RubricLibrary, identity: JudgeIdentity, version: str) -> APIRouter:
    """The routes that describe the service."""
    router = APIRouter(tags=["about"])
    views = tuple(
        RubricSetView(
            name=found.name,
            version=found.version,
            description=found.description,
            criteria=found.criteria,
        )
        for found in library.sets()
    )

    @router.get("/", operation_id="index", summary="Where things are")
    async def index() -> Index:
        """The routes, and which judge answers."""
        return Index(version=version, judge=identity.model)

    @router.get("/v1/rubrics", operation_id="rubrics", summary="The static rubric sets")
    async def rubrics() -> RubricList:
        """Each set with its criteria, as the judge reads them, and its version."""
        return RubricList(sets=views)

    return router
