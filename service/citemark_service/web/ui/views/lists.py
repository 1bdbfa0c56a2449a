"""Rollouts, groups and steps as lines of lists. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from citemark_service.ledger.reading import Record
from citemark_service.score.explanation import Level, level_of, sign_of
from citemark_service.web.ui import links
from citemark_service.web.ui.views.curves import deviation, mean
from citemark_service.web.ui.views.naming import (
    NO_QUESTIONS,
    Questions,
    group_title,
    number,
    outcome,
    state,
    step_title,
    unscaled,
)


@dataclass(frozen=True, slots=True)
class Grade:
    """A number in [0, 1] with its sign and its level."""

    value: float | None
    shown: str
    sign: str
    level: Level


def grade(value: float | None) -> Grade:
    """How good a number is, for the eye."""
    return Grade(value, number(value, 2), sign_of(value), level_of(value))


@dataclass(frozen=True, slots=True)
class RolloutLine:
    """One rollout in a list."""

    title: str
    href: str
    reward: str
    rubrics: Grade
    citation: Grade
    chars: int
    outcome: str
    marks: tuple[str, ...]
    step: str
    group: str
    group_href: str


def rollout_line(row: Record, questions: Questions = NO_QUESTIONS) -> RolloutLine:
    """A rollout from its short columns."""
    found = [(row["fabricated"], "invented ids"), (row["addressed"], "addresses the judge")]
    return RolloutLine(
        title=row["sample_id"],
        href=links.rollout(row["seq"]),
        reward=number(unscaled(row["reward"], row["scale"])),
        rubrics=grade(row["rubric_reward"]),
        citation=grade(row["citation_f1"]),
        chars=row["chars"],
        outcome=outcome(row),
        marks=tuple(words for count, words in found if count),
        step=step_title(row["step"]),
        group=group_title(row["group_key"], questions),
        group_href=links.group(row["run"], row["step"], row["group_key"]),
    )


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One group in a list."""

    title: str
    href: str
    step: str
    samples: int
    low: str
    high: str
    spread: str


def group_line(row: Record, questions: Questions = NO_QUESTIONS) -> GroupLine:
    """A group from its sums."""
    low, high = row["reward_min"], row["reward_max"]
    return GroupLine(
        title=group_title(row["group_key"], questions),
        href=links.group(row["run"], row["step"], row["group_key"]),
        step=step_title(row["step"]),
        samples=row["rollouts"],
        low=number(low),
        high=number(high),
        spread=number(None if low is None else high - low),
    )


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step in a list."""

    title: str
    href: str
    reward: str
    spread: str
    rubrics: str
    citation: str
    rollouts: int
    failed: int
    refused: int


def step_line(row: Record) -> StepLine:
    """A step from its sums."""
    return StepLine(
        title=step_title(row["step"]),
        href=links.step(row["run"], row["step"]),
        reward=number(mean(row, "reward_sum", "rewarded")),
        spread=number(deviation(row)),
        rubrics=number(mean(row, "rubric_sum", "judged")),
        citation=number(mean(row, "f1_sum", "cited")),
        rollouts=row["rollouts"],
        failed=row["failed"],
        refused=row["refused"],
    )


def farthest(rows: Sequence[Record]) -> Record | None:
    """The rollout whose reward is farthest from the mean of these; None without rewards."""
    rewarded = [row for row in rows if row["reward"] is not None]
    if not rewarded:
        return None
    centre = math.fsum(row["reward"] for row in rewarded) / len(rewarded)
    return max(rewarded, key=lambda row: abs(row["reward"] - centre))


def worst_and_best(rows: Sequence[Record], count: int) -> tuple[list[Record], list[Record]]:
    """The judged rollouts with the lowest and the highest rewards, none in both.

    Refused ones are there only where none was judged: they all have the same reward for the same
    reason, and would leave no room for what a judge said.
    """
    rewarded = [row for row in rows if row["reward"] is not None]
    judged = [row for row in rewarded if state(row) == "judged"]
    ordered = sorted(judged or rewarded, key=_by_reward)
    count = min(count, len(ordered) // 2 or len(ordered))
    best = ordered[len(ordered) - count :] if len(ordered) > count else []
    return ordered[:count], best[::-1]


def _by_reward(row: Record) -> tuple[float, int]:
    return (row["reward"], row["seq"])
