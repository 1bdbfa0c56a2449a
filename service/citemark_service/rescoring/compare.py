"""Recomputes rewards from stored verdicts under other knobs, and compares them with the old. Pure.

Group-relative advantages depend only on the rewards within a group: a change that keeps the order
of every group rescales the training signal, and one that reverses pairs changes its direction.
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

from citemark_schemas import (
    CitationScore,
    Knobs,
    RefusalKind,
    Rollout,
    RubricScore,
    ScoreResult,
    Source,
)
from citemark_service.errors import NotJudged
from citemark_service.ledger.reading import KeptRollout
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.parsed import Answer, Sources
from citemark_service.parsing.sources import read_sources
from citemark_service.score.citations import score_citations
from citemark_service.score.formula import add_reward, rubric_reward
from citemark_service.score.rollout import ReadSources


@dataclass(frozen=True, slots=True)
class Change:
    knobs: Knobs  # fields that are not set keep the value of the stored result
    weights: Mapping[str, float]  # new weights, >= 0, by criterion title


def rescore(
    rollout: Rollout,
    result: ScoreResult,
    change: Change,
    *,
    read_sources: ReadSources = read_sources,
) -> ScoreResult:
    """`result` with the change; raises `NotJudged` without a verdict that the change needs."""
    knobs = Knobs.resolve(result.knobs, change.knobs)
    if result.failure is not None:
        raise NotJudged(f"the judge failed: {result.failure.kind}")
    if knobs.non_stop_penalty and rollout.finish_reason != "stop":
        raise NotJudged("non_stop_penalty refuses it, and a refusal needs no verdicts")
    if result.refusal is not None and result.refusal.kind is RefusalKind.NOT_STOPPED:
        raise NotJudged("it was refused for its finish_reason, unjudged")
    style = knobs.citation_style
    sources = read_sources(rollout.tool_output, rollout.snippets, style)
    answer = read_answer(rollout.response, style, sources)
    if answer.refusal is None and answer.style != result.citation_style:
        raise NotJudged(f"its citations were read as {result.citation_style}")
    draft = result.model_copy(update={"knobs": knobs})
    if knobs.instance_rubrics_only:
        versions = result.versions.model_copy(update={"static_rubrics": "none"})
        draft = draft.model_copy(update={"versions": versions})
    if result.refusal is None:
        rubrics = _choose_rubrics(result, knobs, change.weights)
        parts = {
            "rubrics": rubrics,
            "rubric_reward": rubric_reward(rubrics),
            "citation": _score_citations(answer, sources, result, knobs),
        }
        draft = draft.model_copy(update=parts)
    return add_reward(draft, answer)


def _choose_rubrics(
    result: ScoreResult, knobs: Knobs, weights: Mapping[str, float]
) -> tuple[RubricScore, ...]:
    rubrics = result.rubrics
    if knobs.instance_rubrics_only:
        rubrics = tuple(rubric for rubric in rubrics if rubric.source is Source.INSTANCE)
    elif result.knobs.instance_rubrics_only:
        raise NotJudged("the static set was not judged")
    elif knobs.static_rubrics != result.knobs.static_rubrics:
        raise NotJudged(f"the static set {knobs.static_rubrics} was not judged")
    chosen = tuple(
        rubric.model_copy(update={"weight": weights.get(rubric.title, rubric.weight)})
        for rubric in rubrics
    )
    if math.fsum(rubric.weight for rubric in chosen) <= 0:
        raise NotJudged("no criterion with a weight above 0 is left")
    return chosen


def _score_citations(
    answer: Answer, sources: Sources, result: ScoreResult, knobs: Knobs
) -> CitationScore | None:
    if not knobs.apply_citation_reward:
        return None
    if result.citation is None:
        raise NotJudged("the citations were not judged")
    # Sentences of an answer without claims are judged only if `no_claims_score` was above 0.
    unasked = all(sentence.factual is None for sentence in result.uncited)
    if knobs.no_claims_score > 0 and not answer.claims and result.uncited and unasked:
        raise NotJudged("whether its sentences state facts was not judged")
    return score_citations(
        result.claims,
        result.uncited,
        answer=answer,
        sources=sources,
        unit=knobs.citation_unit,
        no_claims_score=knobs.no_claims_score,
    )


Group = tuple[str | None, int | None, str]
"""Run, step and group key."""

SHOWN: Final = 20
"""How many titles a message lists."""
# Members of a group compared at once. No trainer has larger groups, but without run, step and
# group all answers to a prompt that were ever stored are one group.
_PART: Final = 4096
_SOURCES_KEPT: Final = 4  # groups come together and share sources, so few are enough
_TITLES: Final = 1_000
_REASONS: Final = 50


@dataclass(frozen=True, slots=True)
class RewardPair:
    seq: int
    id: str
    group: Group
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A pair with its ranks in its group: 1 is the highest reward, equal rewards share a rank."""

    pair: RewardPair
    old_rank: int
    new_rank: int

    @property
    def moved(self) -> int:
        """Ranks lost; negative where it rose."""
        return self.new_rank - self.old_rank

    @property
    def size(self) -> tuple[int, float, int]:
        """Sort key of a move: by rank, then by reward, then the earlier rollout first."""
        return abs(self.moved), abs(self.pair.new - self.pair.old), -self.pair.seq


@dataclass(frozen=True, slots=True)
class Comparison:
    rollouts: int
    mean_old: float | None
    mean_new: float | None
    groups: int  # those of at least two rollouts
    reordered: int  # how many of these groups have changed ranks
    turned: float | None
    """Share in [0, 1] of pairs within groups whose order is reversed; None without pairs."""
    new_best: int  # groups in which no best sample is best in both
    correlation: float | None
    """Pearson's r of old and new rewards, in [-1, 1]; None where either side is constant."""


@dataclass(slots=True)
class StepMeans:
    run: str | None
    step: int | None
    rollouts: int = 0
    mean_old: float = 0.0
    mean_new: float = 0.0


@dataclass(slots=True)
class RewardTally:
    """Accumulates a comparison group by group; stores only the largest moves."""

    moves: int  # how many moves to store, >= 0
    largest: list[Ranked] = field(default_factory=list)  # the largest moves, in descending order
    steps: dict[tuple[str | None, int | None], StepMeans] = field(default_factory=dict)
    """Means by run and step, in the order in which they were first added."""
    _all: StepMeans = field(default_factory=lambda: StepMeans(None, None))
    _squares_old: float = 0.0
    _squares_new: float = 0.0
    _products: float = 0.0
    _groups: int = 0
    _reordered: int = 0
    _new_best: int = 0
    _siblings: int = 0
    _turned: int = 0

    def add(self, members: Sequence[RewardPair]) -> None:
        everything = rank_pairs(members)
        for each in everything:
            self._add_pair(each.pair)
        both = [*self.largest, *everything]
        self.largest = heapq.nlargest(self.moves, both, key=lambda each: each.size)
        if len(members) > 1:
            self._groups += 1
            self._reordered += any(each.moved for each in everything)
            self._new_best += not any(each.old_rank == each.new_rank == 1 for each in everything)
            self._siblings += math.comb(len(members), 2)
            self._turned += count_turned(everything)

    def _add_pair(self, pair: RewardPair) -> None:
        # Source: Welford, "Note on a method for calculating corrected sums of squares and
        # products", 1962.
        place = pair.group[:2]
        old_off, new_off = pair.old - self._all.mean_old, pair.new - self._all.mean_new
        for means in (self._all, self.steps.setdefault(place, StepMeans(*place))):
            means.rollouts += 1
            means.mean_old += (pair.old - means.mean_old) / means.rollouts
            means.mean_new += (pair.new - means.mean_new) / means.rollouts
        self._squares_old += old_off * (pair.old - self._all.mean_old)
        self._squares_new += new_off * (pair.new - self._all.mean_new)
        self._products += old_off * (pair.new - self._all.mean_new)

    def comparison(self) -> Comparison:
        rollouts = self._all.rollouts
        # Two roots, since the product of the sums could overflow or underflow.
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
    """Number of pairs whose order is reversed; ties, before or after, do not count."""
    # Inversions by insertion: `passed` holds the new ranks of all with a better old rank.
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
    comparison: Comparison
    steps: list[StepMeans]
    moves: list[Ranked]  # the largest, in descending order
    left_out: Mapping[str, int]  # number of rewards that could not be computed, by reason
    untitled: list[str]  # titles in the change that no criterion has
    titles: list[str]
    """Titles of criteria, the most common first, at most 1000; only needed for `untitled`."""


def compare(kept: Iterable[KeptRollout], change: Change, *, moves: int) -> Rescored:
    """Compare stored rewards with those under `change`; `kept` must be sorted by group."""
    tally = RewardTally(moves)
    sources = lru_cache(maxsize=_SOURCES_KEPT)(read_sources)
    left_out, titles, untitled = Counter[str](), Counter[str](), set(change.weights)

    def pairs(members: Iterable[KeptRollout]) -> Iterator[RewardPair]:
        for each in members:
            if untitled:  # titles are only needed for the message about unknown ones
                here = {rubric.title for rubric in each.result.rubrics}
                untitled.difference_update(here)
                fresh = sorted(here - titles.keys())[: _TITLES - len(titles)]
                titles.update([*(here & titles.keys()), *fresh])
            try:
                new = rescore(each.rollout, each.result, change, read_sources=sources)
            except NotJudged as error:
                # Reasons quote names, so the number of different ones is bounded.
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
        steps=[*tally.steps.values()],
        moves=tally.largest,
        left_out=dict(left_out.most_common()),
        untitled=sorted(untitled),
        titles=sorted(titles, key=lambda title: (-titles[title], title)),
    )
