"""Rewards computed again from kept verdicts: the request, and the comparison."""

from typing import Annotated

from pydantic import Field

from citemark_schemas.knobs import Knobs
from citemark_schemas.model import ResponseModel
from citemark_schemas.rollout import RunName, Step

Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class RescoreRequest(Knobs):
    """Which kept rollouts, and what is different; a knob that is not given stays as it was."""

    run: RunName | None = None
    """Only rollouts of this run; like `step` and `group` any where absent."""
    step: Step | None = None
    """Only rollouts of this step."""
    group: str | None = Field(None, min_length=1, max_length=512)
    """Only samples of this group."""
    weights: dict[str, Weight] = Field(default_factory=dict, max_length=100)
    """New weights of criteria, by title."""
    limit: int = Field(2_000, ge=1, le=20_000)
    """Rollouts at most, the latest ones; a thousand take about a second."""
    moves: int = Field(20, ge=0, le=1_000)
    """How many of the largest moves to tell."""


class StepRewards(ResponseModel):
    """The mean rewards of a step, as they were and as they would be."""

    run: str | None
    """As the rollouts named it, or null."""
    step: int | None
    """As the rollouts named it, or null."""
    rollouts: int
    """How many are compared."""
    mean_old: float
    """Of the kept rewards."""
    mean_new: float
    """Of those computed anew."""


class RewardMove(ResponseModel):
    """One rollout's reward and its rank in its group, where 1 is the highest."""

    seq: int
    """Its number in the ledger."""
    id: str
    """Its own."""
    run: str | None
    """As the rollout named it, or null."""
    step: int | None
    """As the rollout named it, or null."""
    group: str
    """Within which it is ranked."""
    old: float
    """The kept reward."""
    new: float
    """The one computed anew."""
    old_rank: int
    """By the kept rewards."""
    new_rank: int
    """By those computed anew."""


class LeftOut(ResponseModel):
    """Rollouts whose new reward needs a verdict that was never given."""

    reason: str
    """For people."""
    rollouts: int
    """How many."""


class RescoreResponse(ResponseModel):
    """Old rewards against new."""

    rollouts: int
    """Those compared."""
    complete: bool
    """False where `limit` was reached, so that there may be more; a group may be cut."""
    mean_old: float | None
    """Of the kept rewards; null without any."""
    mean_new: float | None
    """Of those computed anew; null without any."""
    correlation: float | None
    """Pearson's, in [-1, 1]; null where either side is constant."""
    groups: int
    """Groups of at least two rollouts."""
    reordered: int
    """Those among them whose ranks differ."""
    new_best: int
    """Groups whose best sample is another."""
    turned: float | None
    """Share in [0, 1] of pairs of siblings whose order turned around; null without siblings."""
    steps: tuple[StepRewards, ...]
    """One entry for each run and step."""
    moves: tuple[RewardMove, ...]
    """The largest, of rank before reward."""
    left_out: tuple[LeftOut, ...]
    """By reason."""
