"""The reward's knobs: one table for settings, requests, single rollouts and query strings.

A knob that was not given is not an override: `resolve` looks at which fields a layer set,
so one class serves as the full table (settings) and as a sparse override (a request).
"""

from typing import Annotated, Literal

from pydantic import Field

from citemark_schemas.model import ClosedModel

Finite = Annotated[float, Field(allow_inf_nan=False)]
CitationUnit = Literal["snippet", "paper"]
ReadStyle = Literal["snippet", "cite", "numbered"]
CitationStyle = Literal["auto", "snippet", "cite", "numbered"]


class Knobs(ClosedModel):
    """How verdicts become a reward; every field may be overridden per request and per rollout."""

    verification_reward: Finite = Field(1.0, gt=0, le=1e6)
    """Scale of the whole reward, > 0; bounded so that no reward can overflow."""
    apply_citation_reward: bool = True
    """False drops the citation term, and with it the citation call."""
    citation_weight: Finite = Field(0.2, ge=0, le=1e6)
    """Weight of citation F1 beside the rubric reward, >= 0."""
    instance_rubrics_only: bool = False
    """True leaves the static set out of the reward and out of the result."""
    static_rubrics: str = "v3"
    """Name of the static rubric set; `GET /v1/rubrics` lists them."""
    gate_judge_score_with_format_bonus: bool = False
    """True multiplies the rubric reward by the share of format checks that pass."""
    non_stop_penalty: bool = False
    """True gives a rollout whose `finish_reason` is not `stop` the penalty value, unjudged."""
    non_stop_penalty_value: Finite = 0.0
    """The reward of such a rollout, as it stands (not scaled)."""
    citation_unit: CitationUnit = "snippet"
    """`paper` counts ids that share a `paper_id` as one citation."""
    citation_style: CitationStyle = "auto"
    """Which notation is a citation: the published run's `<snippet id=…>` tags, `<cite id=…>` tags,
    numbered markers and links to sources, or the one of these that the answer uses."""
    no_claims_score: Finite = Field(0.0, ge=0, le=1)
    """Citation score in [0, 1] of a well-formed answer without any factual claim."""

    @classmethod
    def resolve(cls, *layers: "Knobs") -> "Knobs":
        """Merge layers from weakest to strongest; a field counts where its layer set it."""
        chosen: dict[str, object] = {}
        for layer in layers:
            given = layer.model_fields_set & Knobs.model_fields.keys()
            chosen.update({name: getattr(layer, name) for name in given})
        return Knobs().model_copy(update=chosen)  # each value was validated in its own layer
