"""What lists and curves show of many rollouts, from the ledger's records. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Final

from citemark_schemas import group_noise
from citemark_service.ledger.reading import Record, Sample
from citemark_service.ledger.tables import KeptRubric
from citemark_service.web.ui.charts import Chart, Curve, Histogram

# A verdict; not judged, because it is no answer; no verdict.
OUTCOMES: Final = ("judged", "refused", "failed")

_RUBRICS: Final = 60


def mean(row: Record, total: str, count: str) -> float | None:
    """A sum over its count; None where the count is 0."""
    return row[total] / row[count] if row[count] else None


def deviation(row: Record) -> float | None:
    """The population standard deviation of a step's rewards; None without rewards."""
    average = mean(row, "reward_sum", "rewarded")
    if average is None:
        return None
    # Rounding can make the difference negative.
    return math.sqrt(max(0.0, row["reward_squares"] / row["rewarded"] - average**2))


def reward_chart(rows: Sequence[Record]) -> Chart:
    """The mean reward of a run's steps, and the area of one standard deviation around it."""
    means = [(mean(row, "reward_sum", "rewarded"), deviation(row)) for row in rows]
    low, high = (
        [None if m is None or d is None else m + sign * d for m, d in means] for sign in (-1, 1)
    )
    line = Curve("mean reward", [average for average, _ in means])
    return Chart("Reward", [row["last"] for row in rows], [line], band=(low, high), floor=0.0)


def component_charts(rows: Sequence[Record]) -> list[Chart]:
    """The components of the reward, and what disturbs it, in a small chart each."""
    steps = [row["last"] for row in rows]

    def means(label: str, total: str, count: str, tone: int) -> Curve:
        return Curve(label, [mean(row, total, count) for row in rows], tone)

    shares = {
        "Rubrics": means("mean", "rubric_sum", "judged", 1),
        "Citation F1": means("mean", "f1_sum", "cited", 2),
        "Format": means("mean", "format_sum", "rollouts", 3),
    }
    amounts = {
        "Failed and refused": [
            means("failed", "failed", "rollouts", 4),
            means("refused", "refused", "rollouts", 3),
        ],
        "Length": [means("mean characters", "chars_sum", "rollouts", 2)],
        "Spread within the step": [Curve("standard deviation", list(map(deviation, rows)))],
    }
    return [
        *(Chart(title, steps, [line], floor=0.0, ceiling=1.0) for title, line in shares.items()),
        *(Chart(title, steps, lines, floor=0.0) for title, lines in amounts.items()),
    ]


def distribution(rows: Sequence[Record]) -> Histogram | None:
    """The histogram of these rewards; None where there are none."""
    values = [row["reward"] for row in rows if row["reward"] is not None]
    # At least from 0 to 1, so that steps can be compared.
    return Histogram(values, min(0.0, *values), max(1.0, *values)) if values else None


def rubric_means(samples: Iterable[Sample]) -> list[tuple[KeptRubric, float, int]]:
    """(criterion, mean score, rollouts that have it), those of the static set first."""
    scores: dict[tuple[str, str, str], list[KeptRubric]] = {}
    for sample in samples:
        for rubric in sample.verdicts.rubrics:
            scores.setdefault((rubric.title, rubric.polarity, rubric.source), []).append(rubric)
    found = [
        (each[0], fmean(rubric.score for rubric in each), len(each)) for each in scores.values()
    ]
    found.sort(key=lambda each: (each[0].source != "static", -each[2], each[0].title))
    return found[:_RUBRICS]


def outcome(row: Record) -> str:
    """One of `OUTCOMES`."""
    if row["failure"]:
        return "failed"
    return "refused" if row["refusal"] else "judged"


# Judged ones come first in `worst` and `best`: the many that are refused all have the same reward.
ORDERS: Final[Mapping[str, Callable[[Record], tuple[float, ...]]]] = {
    "worst": lambda row: (OUTCOMES.index(outcome(row)), row["reward"] or 0.0),
    "best": lambda row: (OUTCOMES.index(outcome(row)), -(row["reward"] or 0.0)),
    "latest": lambda row: (-row["seq"],),
    "longest": lambda row: (-row["chars"],),
}


def farthest(rows: Iterable[Record]) -> Record | None:
    """The rollout whose reward is farthest from the mean of these; None without rewards."""
    rewarded = [row for row in rows if row["reward"] is not None]
    if not rewarded:
        return None
    centre = fmean(row["reward"] for row in rewarded)
    return max(rewarded, key=lambda row: abs(row["reward"] - centre))


def worst_and_best(rows: Iterable[Record], count: int) -> tuple[list[Record], list[Record]]:
    """The judged rollouts with the lowest and the highest rewards, none in both."""
    rewarded = [row for row in rows if row["reward"] is not None]
    judged = [row for row in rewarded if outcome(row) == "judged"]
    # Refused ones all have the same reward, and would leave no room for judged ones.
    ordered = sorted(judged or rewarded, key=lambda row: (row["reward"], row["seq"]))
    count = min(count, len(ordered) // 2 or len(ordered))
    best = ordered[len(ordered) - count :] if len(ordered) > count else []
    return ordered[:count], best[::-1]


def best_first(samples: Iterable[Sample]) -> list[Sample]:
    """Sorted by reward, those without one last."""
    rows = sorted(samples, key=lambda each: each.row["reward"] or 0.0, reverse=True)
    return sorted(rows, key=lambda each: each.row["reward"] is None)


def advantages(samples: Sequence[Sample]) -> list[float | None]:
    """Each reward less the group's mean, over the standard deviation, as in GRPO."""
    rewards = [s.row["reward"] for s in samples if s.row["reward"] is not None]
    centre, spread = (fmean(rewards), pstdev(rewards)) if rewards else (0.0, 0.0)
    every = (sample.row["reward"] for sample in samples)
    # Where all rewards are equal, none has an advantage.
    return [r if r is None else (r - centre) / spread if spread else 0.0 for r in every]


def noise_share(samples: Iterable[Sample]) -> float | None:
    """`group_noise` of these samples."""
    return group_noise(
        (each.row["group_key"], each.row["reward"] and each.row["reward"] * each.row["scale"],
         each.verdicts.reward_std)
        for each in samples
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """A component or a criterion across the samples of a group, each in [0, 1]."""

    title: str
    note: str  # for a criterion, its polarity
    values: Sequence[float | None]

    @property
    def spread(self) -> float:
        """The largest value less the smallest; 0.0 where there are none."""
        known = [value for value in self.values if value is not None]
        return max(known) - min(known) if known else 0.0


def measures(samples: Sequence[Sample]) -> list[Measure]:
    """Components, then criteria, those that differ most first."""
    # Reversed, so that of equal titles the first one counts.
    scores = [{(r.title, r.polarity): r.score for r in reversed(s.verdicts.rubrics)}
              for s in samples]  # fmt: skip
    keys = dict.fromkeys((r.title, r.polarity) for s in samples for r in s.verdicts.rubrics)
    criteria = [Measure(*key, [each.get(key) for each in scores]) for key in keys]
    return [
        Measure("All rubrics", "weighted mean", [s.row["rubric_reward"] for s in samples]),
        Measure("Citation F1", "", [s.row["citation_f1"] for s in samples]),
        Measure("Format", "share of checks", [s.row["format_bonus"] for s in samples]),
        *sorted(criteria, key=lambda measure: -measure.spread),
    ]
