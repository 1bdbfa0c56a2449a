"""A judge with probabilities of its own for each verdict, and rewards of digits drawn from them."""

import random
from collections.abc import Iterator

from citemark_schemas import ClaimVerdict, CriterionVerdict, Polarity, ScoreResult, SentenceVerdict
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    Meter,
)

Distribution = dict[float, float]  # probability by level

THREE = (0.0, 0.5, 1.0)
TWO = (0.0, 1.0)


class DoubtingJudge(Judge):
    """What another judge says, as the likeliest level of a distribution, whose mean it answers."""

    def __init__(self, judge: Judge, *, seed: int = 1, alike: bool = False) -> None:
        """`alike`: equal doubts about equal verdicts."""
        self.identity = judge.identity
        self._judge = judge
        self._alike = alike
        self._random = random.Random(seed)
        self.criteria: list[Distribution] = []
        self.claims: list[list[Distribution]] = []
        self.sentences: list[Distribution] = []

    def _doubt(self, score: float, levels: tuple[float, ...]) -> Distribution:
        if self._alike:
            self._random.seed(repr((score, levels)))
        likely = min(levels, key=lambda level: abs(level - score))
        rest = {each: self._random.random() for each in levels if each != likely}
        peak = self._random.uniform(0.5, 0.99)
        share = (1 - peak) / sum(rest.values())
        return {likely: peak, **{level: share * mass for level, mass in rest.items()}}

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        sure = await self._judge.judge_criteria(task, meter=meter, deadline=deadline)
        self.criteria = [self._doubt(each.score, THREE) for each in sure]
        found = map(moments, self.criteria)
        return tuple(CriterionVerdict(score=mean, variance=each) for mean, each in found)

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        sure = await self._judge.judge_citations(task, meter=meter, deadline=deadline)
        claims = []
        for cited, each in zip(task.claims, sure.claims, strict=True):
            shares = [each.contributing[name] for name in cited.ids] if len(cited.ids) > 1 else []
            drawn = [self._doubt(each.support, THREE)]
            drawn += [self._doubt(score, TWO) for score in (each.substantive, *shares)]
            self.claims.append(drawn)
            (support, substantive, *parts), variances = zip(*map(moments, drawn), strict=True)
            claims.append(
                ClaimVerdict(
                    support=support,
                    substantive=substantive,
                    contributing=dict(zip(cited.ids, parts, strict=False)),
                    variances=variances,
                )
            )
        self.sentences = [self._doubt(each.factual, TWO) for each in sure.sentences]
        found = map(moments, self.sentences)
        sentences = [SentenceVerdict(factual=mean, variance=each) for mean, each in found]
        return CitationVerdicts(tuple(claims), tuple(sentences))

    def draw_rewards(self, result: ScoreResult, draws: int) -> list[float]:
        """Rewards of what it judged under default knobs, its digits drawn `draws` times.

        The formula is written here once more, from its description.
        """
        weights = sum(rubric.weight for rubric in result.rubrics)
        shares = [rubric.weight / weights for rubric in result.rubrics]
        signs = [-1 if each.polarity is Polarity.NEGATIVE else 1 for each in result.rubrics]
        certain = sum(share for share, sign in zip(shares, signs, strict=True) if sign < 0)
        factors = [sign * share for share, sign in zip(shares, signs, strict=True)]
        assert result.citation is not None
        count, written = result.citation.claims, result.citation.citations

        def columns(distributions: list[Distribution]) -> Iterator[tuple[float, ...]]:
            choose = self._random.choices
            each = [choose(list(d), list(d.values()), k=draws) for d in distributions]
            return zip(*each, strict=True) if each else iter([()] * draws)

        rewards = [
            certain + sum(map(float.__mul__, factors, drawn)) for drawn in columns(self.criteria)
        ]
        earned, credited = [0.0] * draws, [0.0] * draws
        for distributions in self.claims:
            for at, (support, substantive, *parts) in enumerate(columns(distributions)):
                earned[at] += support * substantive
                credited[at] += support * substantive * (sum(parts) if parts else 1.0)
        for at, facts in enumerate(columns(self.sentences)):
            if credited[at]:
                recall = earned[at] / (count + sum(facts))
                precision = credited[at] / (written + sum(facts))
                rewards[at] += 0.2 * 2 * precision * recall / (precision + recall)
        return rewards


def std_of(result: ScoreResult) -> float:
    """`reward_std`, which must be known."""
    assert result.reward_std is not None
    return result.reward_std


def moments(distribution: Distribution) -> tuple[float, float]:
    mean = sum(level * mass for level, mass in distribution.items())
    return mean, sum((level - mean) ** 2 * mass for level, mass in distribution.items())
