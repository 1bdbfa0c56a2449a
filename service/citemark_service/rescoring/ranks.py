"""What a change of rewards means to a trainer: the order within each group. Pure.

Group-relative advantages depend on nothing but the rewards of one group, so a change that keeps
every group's order only scales the lesson, and one that turns it around teaches another.
"""

import heapq
import math
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

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

    @property
    def size(self) -> tuple[int, float, int]:
        """Greater for the larger move: of rank, then of reward, then the earlier rollout's."""
        return abs(self.moved), abs(self.pair.new - self.pair.old), -self.pair.seq


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
    correlation: float | None
    """Pearson's, of old and new, in [-1, 1]; None where either side is constant."""


@dataclass(slots=True)
class StepMeans:
    """The mean rewards of one step."""

    run: str | None
    step: int | None
    rollouts: int = 0
    mean_old: float = 0.0
    mean_new: float = 0.0

    def add(self, pair: Pair) -> None:
        """Count one more."""
        self.rollouts += 1
        self.mean_old += (pair.old - self.mean_old) / self.rollouts
        self.mean_new += (pair.new - self.mean_new) / self.rollouts


@dataclass(slots=True)
class _Spread:
    """Running moments of pairs. Source: Welford, "Note on a method for calculating corrected sums
    of squares and products", 1962."""

    count: int = 0
    old: float = 0.0
    new: float = 0.0
    old_squares: float = 0.0
    new_squares: float = 0.0
    products: float = 0.0

    def add(self, pair: Pair) -> None:
        self.count += 1
        old_off, new_off = pair.old - self.old, pair.new - self.new
        self.old += old_off / self.count
        self.new += new_off / self.count
        self.old_squares += old_off * (pair.old - self.old)
        self.new_squares += new_off * (pair.new - self.new)
        self.products += old_off * (pair.new - self.new)

    def correlation(self) -> float | None:
        scale = math.sqrt(self.old_squares) * math.sqrt(self.new_squares)
        return max(-1.0, min(1.0, self.products / scale)) if scale > 0 else None


@dataclass(slots=True)
class Tally:
    """Adds up a comparison group by group; of the rollouts it keeps only the largest moves."""

    moves: int
    """How many of those, >= 0."""
    _rollouts: StepMeans = field(default_factory=lambda: StepMeans(None, None))
    _steps: dict[tuple[str | None, int | None], StepMeans] = field(default_factory=dict)
    _largest: list[tuple[tuple[int, float, int], Ranked]] = field(default_factory=list)
    _spread: _Spread = field(default_factory=_Spread)
    _groups: int = 0
    _reordered: int = 0
    _new_best: int = 0
    _siblings: int = 0
    _turned: int = 0

    def add(self, members: Sequence[Pair]) -> None:
        """Add all samples of one group."""
        everything = ranked(members)
        for each in everything:
            self._note(each)
        if len(members) > 1:
            self._groups += 1
            self._reordered += any(each.moved for each in everything)
            self._new_best += _new_best(everything)
            self._siblings += math.comb(len(members), 2)
            self._turned += _turned(everything)

    def comparison(self) -> Comparison:
        """The sums so far."""
        everything = self._rollouts
        return Comparison(
            rollouts=everything.rollouts,
            mean_old=everything.mean_old if everything.rollouts else None,
            mean_new=everything.mean_new if everything.rollouts else None,
            groups=self._groups,
            reordered=self._reordered,
            turned=self._turned / self._siblings if self._siblings else None,
            new_best=self._new_best,
            correlation=self._spread.correlation(),
        )

    def largest(self) -> list[Ranked]:
        """The largest moves, the very largest first."""
        return [each for _, each in sorted(self._largest, key=lambda item: item[0], reverse=True)]

    def steps(self) -> list[StepMeans]:
        """Each step, in the order in which they first came."""
        return list(self._steps.values())

    def _note(self, each: Ranked) -> None:
        pair, place = each.pair, each.pair.group[:2]
        self._spread.add(pair)
        self._rollouts.add(pair)
        self._steps.setdefault(place, StepMeans(*place)).add(pair)
        heapq.heappush(self._largest, (each.size, each))
        if len(self._largest) > self.moves:
            heapq.heappop(self._largest)


def ranked(members: Sequence[Pair]) -> list[Ranked]:
    """The samples of one group with their ranks, in the order given."""
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
    """Pairs whose order turned around; equals, before or after, did not."""
    ordered = sorted((each.old_rank, each.new_rank) for each in members)
    turned, passed = 0, list[int]()
    for _, tied in groupby(ordered, key=lambda ranks: ranks[0]):
        ranks = [new for _, new in tied]
        turned += sum(len(passed) - bisect_right(passed, new) for new in ranks)
        for new in ranks:
            insort(passed, new)
    return turned


def _new_best(members: Sequence[Ranked]) -> bool:
    return not any(each.old_rank == each.new_rank == 1 for each in members)
