"""Kept rollouts under other knobs, compared with what they got. Pure, and holds one group."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from typing import Final, Protocol

from citemark_schemas import Rollout, ScoreResult
from citemark_service.errors import NotJudged
from citemark_service.parsing.sources import read_sources
from citemark_service.rescoring.ranks import Comparison, Group, Pair, Ranked, StepMeans, Tally
from citemark_service.rescoring.reward import Change, rescored

_PART = 4096
"""Siblings that are compared at once. No trainer has more; without groups, a prompt's answers of
all time are siblings."""
_SHARED = 4
_TITLES = 1_000
_REASONS = 50

SHOWN: Final = 20
"""Titles that a message lists."""


class Kept(Protocol):
    """A rollout of the ledger, such as a `KeptRollout`."""

    @property
    def seq(self) -> int:
        """Its number."""
        ...

    @property
    def place(self) -> Group:
        """Run, step and group."""
        ...

    @property
    def rollout(self) -> Rollout:
        """What was scored."""
        ...

    @property
    def result(self) -> ScoreResult:
        """What came of it."""
        ...


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


def compare(kept: Iterable[Kept], change: Change, *, moves: int) -> Rescored:
    """Compare the rewards of `kept`, in which groups stand together, with those under `change`."""
    work = _Work(change)
    tally = Tally(moves)
    for _, members in groupby(kept, key=lambda each: each.place):
        pairs = work.pairs(members)
        while part := list(islice(pairs, _PART)):
            tally.add(part)
    return Rescored(
        comparison=tally.comparison(),
        steps=tally.steps(),
        moves=tally.largest(),
        left_out=dict(work.left_out.most_common()),
        untitled=sorted(work.untitled),
        titles=sorted(work.titles, key=lambda title: (-work.titles[title], title)),
    )


class _Work:
    """What is noted on the way."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._sources = lru_cache(maxsize=_SHARED)(read_sources)
        self.left_out = Counter[str]()
        self.untitled = set(change.weights)
        self.titles = Counter[str]()

    def pairs(self, members: Iterable[Kept]) -> Iterator[Pair]:
        """Rewards old and new, where there is a new one."""
        for each in members:
            self._look(each.result)
            try:
                new = rescored(each.rollout, each.result, self._change, sources_of=self._sources)
            except NotJudged as error:
                self._leave_out(str(error))
                continue
            old_reward, new_reward = each.result.reward or 0.0, new.reward or 0.0
            yield Pair(each.seq, new.id, each.place, old_reward, new_reward)

    def _look(self, result: ScoreResult) -> None:
        if self.untitled:
            titles = {rubric.title for rubric in result.rubrics}
            self.untitled -= titles
            room = _TITLES - len(self.titles)
            fresh = sorted(titles - self.titles.keys())[:room]
            self.titles.update([*(titles & self.titles.keys()), *fresh])

    def _leave_out(self, reason: str) -> None:
        known = reason in self.left_out or len(self.left_out) < _REASONS
        self.left_out[reason if known else "for other reasons"] += 1
