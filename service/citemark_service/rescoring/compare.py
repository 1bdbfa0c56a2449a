"""Kept rewards against others of the same rollouts: the order within each group. Pure.

Group-relative advantages depend on nothing but the rewards of one group, so a change that keeps
every group's order only scales the lesson, and one that turns it around teaches another.
"""

import heapq
import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby, islice
from typing import Final

from citemark_service.errors import NotJudged
from citemark_service.ledger.reading import KeptRollout
from citemark_service.parsing.sources import read_sources
from citemark_service.rescoring.reward import Change, rescore

Group = tuple[str | None, int | None, str]
"""Run, step and group key."""

SHOWN: Final = 20
"""Titles that a message lists."""
_PART: Final = 4096
"""Siblings that are compared at once. No trainer has more; without groups, a prompt's answers of
all time are siblings."""
_SOURCES_KEPT: Final = 4
_TITLES: Final = 1_000
_REASONS: Final = 50


@dataclass(frozen=True, slots=True)
class RewardPair:
    """One rollout's rewards before and after."""

    seq: int
    id: str
    group: Group
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A pair with its ranks among its group: 1 is the highest reward, and equals share a rank."""

    pair: RewardPair
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


@dataclass(slots=True)
class RewardTally:
    """Adds up a comparison group by group; of the rollouts it keeps only the largest moves."""

    moves: int
    """How many of those, >= 0."""
    _all: StepMeans = field(default_factory=lambda: StepMeans(None, None))
    _steps: dict[tuple[str | None, int | None], StepMeans] = field(default_factory=dict)
    _largest: list[tuple[tuple[int, float, int], Ranked]] = field(default_factory=list)
    _squares_old: float = 0.0
    _squares_new: float = 0.0
    _products: float = 0.0
    _groups: int = 0
    _reordered: int = 0
    _new_best: int = 0
    _siblings: int = 0
    _turned: int = 0

    def add(self, members: Sequence[RewardPair]) -> None:
        """Add all samples of one group."""
        everything = rank_pairs(members)
        for each in everything:
            self._add_pair(each.pair)
        sized = ((each.size, each) for each in everything)
        self._largest = heapq.nlargest(self.moves, [*self._largest, *sized])
        if len(members) > 1:
            self._groups += 1
            self._reordered += any(each.moved for each in everything)
            self._new_best += not any(each.old_rank == each.new_rank == 1 for each in everything)
            self._siblings += math.comb(len(members), 2)
            self._turned += count_turned(everything)

    def _add_pair(self, pair: RewardPair) -> None:
        """Add to the means, and to the moments of all pairs.

        Source: Welford, "Note on a method for calculating corrected sums of squares and
        products", 1962.
        """
        place = pair.group[:2]
        old_off, new_off = pair.old - self._all.mean_old, pair.new - self._all.mean_new
        for means in (self._all, self._steps.setdefault(place, StepMeans(*place))):
            means.rollouts += 1
            means.mean_old += (pair.old - means.mean_old) / means.rollouts
            means.mean_new += (pair.new - means.mean_new) / means.rollouts
        self._squares_old += old_off * (pair.old - self._all.mean_old)
        self._squares_new += new_off * (pair.new - self._all.mean_new)
        self._products += old_off * (pair.new - self._all.mean_new)

    def comparison(self) -> Comparison:
        """The sums so far."""
        rollouts = self._all.rollouts
        scale = math.sqrt(self._squares_old) * math.sqrt(self._squares_new)
        return Comparison(
            rollouts=rollouts,
            mean_old=self._all.mean_old if rollouts else None,
            mean_new=self._all.mean_new if rollouts else None,
            groups=self._groups,
            reordered=self._reordered,
            turned=self._turned / self._siblings if self._siblings else None,
            new_best=self._new_best,
            correlation=max(-1.0, min(1.0, self._products / scale)) if scale > 0 else None,
        )

    def largest(self) -> list[Ranked]:
        """The largest moves, the very largest first."""
        return [each for _, each in self._largest]

    def steps(self) -> list[StepMeans]:
        """In the order in which they first came."""
        return list(self._steps.values())


def rank_pairs(members: Sequence[RewardPair]) -> list[Ranked]:
    """The samples of one group with their ranks, in the order given."""
    sides = []
    for values in ([pair.old for pair in members], [pair.new for pair in members]):
        first: dict[float, int] = {}
        for rank, value in enumerate(sorted(values, reverse=True), start=1):
            first.setdefault(value, rank)
        sides.append([first[value] for value in values])
    return [Ranked(*each) for each in zip(members, *sides, strict=True)]


def count_turned(members: Sequence[Ranked]) -> int:
    """Pairs whose order turned around; equals, before or after, did not."""
    ordered = sorted((each.old_rank, each.new_rank) for each in members)
    turned, passed = 0, list[int]()
    for _, tied in groupby(ordered, key=lambda ranks: ranks[0]):
        ranks = [new for _, new in tied]
        turned += sum(len(passed) - bisect_right(passed, new) for new in ranks)
        for new in ranks:
            insort(passed, new)
    return turned


@dataclass(frozen=True, slots=True)
class Rescored:
    """What a change does to rewards."""

    comparison: Comparison
    steps: list[StepMeans]
    moves: list[Ranked]
    """The largest ones."""
    left_out: Mapping[str, int]
    """How many rewards could not be computed, by reason."""
    untitled: list[str]
    """Titles of the change that no criterion has."""
    titles: list[str]
    """Those that there are, the most common first; of more than 1000 not all."""


def compare(kept: Iterable[KeptRollout], change: Change, *, moves: int) -> Rescored:
    """Compare the rewards of `kept`, in which groups stand together, with those under `change`."""
    tally = RewardTally(moves)
    sources = lru_cache(maxsize=_SOURCES_KEPT)(read_sources)
    left_out, titles, untitled = Counter[str](), Counter[str](), set(change.weights)

    def pairs(members: Iterable[KeptRollout]) -> Iterator[RewardPair]:
        for each in members:
            if untitled:  # titles are only wanted for the message about one that none has
                here = {rubric.title for rubric in each.result.rubrics}
                untitled.difference_update(here)
                fresh = sorted(here - titles.keys())[: _TITLES - len(titles)]
                titles.update([*(here & titles.keys()), *fresh])
            try:
                new = rescore(each.rollout, each.result, change, read_sources=sources)
            except NotJudged as error:
                known = str(error) in left_out or len(left_out) < _REASONS
                left_out[str(error) if known else "for other reasons"] += 1
                continue
            old_reward, new_reward = each.result.reward or 0.0, new.reward or 0.0
            yield RewardPair(each.seq, new.id, each.place, old_reward, new_reward)

    for _, members in groupby(kept, key=lambda each: each.place):
        group = pairs(members)
        while part := list(islice(group, _PART)):
            tally.add(part)
    return Rescored(
        comparison=tally.comparison(),
        steps=tally.steps(),
        moves=tally.largest(),
        left_out=dict(left_out.most_common()),
        untitled=sorted(untitled),
        titles=sorted(titles, key=lambda title: (-titles[title], title)),
    )
