"""What a change of rewards means to a trainer: the order within each group. Pure.

Group-relative advantages depend on nothing but the rewards of one group, so a change that keeps
every group's order only scales the lesson, and one that turns it around teaches another.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

Group = tuple[str | None, int | None, str]
"""Run, step and group key."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One rollout's rewards before and after."""

    seq: int
    id: str
    group: Group
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A pair with its ranks among its group: 1 is the highest reward, and equals share a rank."""

    pair: Pair
    old_rank: int
    new_rank: int

    @property
    def moved(self) -> int:
        """Places lost; negative where it rose."""
        return self.new_rank - self.old_rank


@dataclass(frozen=True, slots=True)
class Comparison:
    """Sums over all pairs."""

    rollouts: int
    mean_old: float | None
    mean_new: float | None
    groups: int
    """Groups of at least two rollouts."""
    reordered: int
    """Those among them whose ranks differ."""
    turned: float | None
    """Share in [0, 1] of pairs of siblings whose order turned around; None without siblings."""
    new_best: int
    """Groups whose best sample is another."""


def ranked(pairs: Iterable[Pair]) -> list[Ranked]:
    """Every pair with its ranks, groups together, in the order in which they first came."""
    groups: dict[Group, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.group, []).append(pair)
    return [each for members in groups.values() for each in _ranked(members)]


def compared(everything: Sequence[Ranked]) -> Comparison:
    """The sums over what `ranked` gave."""
    groups: dict[Group, list[Ranked]] = {}
    for each in everything:
        groups.setdefault(each.pair.group, []).append(each)
    families = [members for members in groups.values() if len(members) > 1]
    siblings = sum(math.comb(len(members), 2) for members in families)
    turned = sum(_turned(members) for members in families)
    return Comparison(
        rollouts=len(everything),
        mean_old=_mean([each.pair.old for each in everything]),
        mean_new=_mean([each.pair.new for each in everything]),
        groups=len(families),
        reordered=sum(any(each.moved for each in members) for members in families),
        turned=turned / siblings if siblings else None,
        new_best=sum(_new_best(members) for members in families),
    )


def _ranked(members: Sequence[Pair]) -> list[Ranked]:
    old = _ranks([pair.old for pair in members])
    new = _ranks([pair.new for pair in members])
    return [Ranked(*each) for each in zip(members, old, new, strict=True)]


def _ranks(values: Sequence[float]) -> list[int]:
    ordered = sorted(values, reverse=True)
    first: dict[float, int] = {}
    for rank, value in enumerate(ordered, start=1):
        first.setdefault(value, rank)
    return [first[value] for value in values]


def _turned(members: Sequence[Ranked]) -> int:
    return sum(
        (a.old_rank - b.old_rank) * (a.new_rank - b.new_rank) < 0
        for a, b in combinations(members, 2)
    )


def _new_best(members: Sequence[Ranked]) -> bool:
    return not any(each.old_rank == each.new_rank == 1 for each in members)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
