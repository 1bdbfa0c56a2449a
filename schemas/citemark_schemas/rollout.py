"""What a caller sends: a rollout with its sources, its answer and its rubrics."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from citemark_schemas.knobs import Knobs
from citemark_schemas.model import ClosedModel
from citemark_schemas.rubric import Criterion, MixedRubrics, NegativeRubrics, PositiveRubrics

Priority = Literal["training", "audit"]

RunName = Annotated[str, Field(min_length=1, max_length=256)]
Step = Annotated[int, Field(ge=0, le=2**53)]


class Snippet(ClosedModel):
    """One source, given structured instead of inside `tool_output`."""

    id: str = Field(min_length=1)
    text: str
    paper_id: str | None = None
    """Ids with one `paper_id` are one citation where `citation_unit` is `paper`."""


class Rollout(Knobs):
    """One rollout of a research refiner; knobs set here win over all others."""

    id: str | None = Field(None, max_length=512)
    """The caller's own id, echoed; where absent the position in the request stands in."""
    question: str
    tool_output: str | None = None
    """Raw search-tool output, with `<snippet id=…>`, `<snippets id="…">` or `<webpage id=…>`."""
    snippets: tuple[Snippet, ...] | None = None
    """The same sources, structured. Where both are given, these are read first."""
    response: str
    """The policy's whole text; only its single `<answer>` block is judged."""
    finish_reason: str | None = None
    positive_rubrics: PositiveRubrics = ()
    negative_rubrics: NegativeRubrics = ()
    rubrics: MixedRubrics = ()
    run: RunName | None = None
    """The training run that made it; like `step` and `group` recorded, never judged."""
    step: Step | None = None
    """The optimizer step, or another count that grows with the run."""
    group: str | None = Field(None, min_length=1, max_length=512)
    """What the samples of one prompt have in common; their prompt where absent."""
    metadata: dict[str, Any] | None = None
    """The caller's own columns; never judged."""

    @field_validator("question")
    @classmethod
    def _question_is_not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value

    @model_validator(mode="after")
    def _has_sources(self) -> Self:
        if self.tool_output is None and self.snippets is None:
            raise ValueError("needs tool_output or snippets (either may be empty, not absent)")
        return self

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The row's own criteria in the order given: positive, negative, mixed."""
        return self.positive_rubrics + self.negative_rubrics + self.rubrics


class RequestOptions(Knobs):
    """What a request says once. Knobs set here hold for every item that does not set its own."""

    priority: Priority = "training"
    """Audits wait while training has calls to make."""
    run: RunName | None = None
    """`Rollout.run` of every item that names none."""
    step: Step | None = None
    """`Rollout.step` of every item that names none."""


class BatchOptions(RequestOptions):
    """What a batch says once."""

    deadline_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Seconds after which unfinished items come back as `deadline_exceeded`."""


class ScoreRequest(BatchOptions):
    """A batch: its options and its rollouts."""

    items: tuple[Rollout, ...]

    @field_validator("items")
    @classmethod
    def _has_items(cls, value: tuple[Rollout, ...]) -> tuple[Rollout, ...]:
        # A min_length would add its own complaint whenever an item is invalid.
        if not value:
            raise ValueError("must hold at least one rollout")
        return value
