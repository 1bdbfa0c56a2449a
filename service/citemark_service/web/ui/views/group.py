"""The samples of one prompt side by side: what differs between them. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from citemark_service.ledger.excerpt import KeptClaim
from citemark_service.ledger.view import Sample
from citemark_service.printable import figure
from citemark_service.score.explanation import Level, level_of, sign_of
from citemark_service.web.ui.views.lists import Grade, RolloutLine, grade, rollout_line

_DIFFERENT: Final = 0.25
_CLAIMS: Final = 40


@dataclass(frozen=True, slots=True)
class Row:
    """One measure across the samples."""

    title: str
    note: str
    cells: tuple[Grade, ...]
    differs: bool


@dataclass(frozen=True, slots=True)
class ClaimLine:
    """A claim in a sample's list."""

    text: str
    sign: str
    level: Level
    fabricated: int


@dataclass(frozen=True, slots=True)
class Column:
    """One sample."""

    line: RolloutLine
    advantage: str
    """Its reward less the group's mean, over the standard deviation, as GRPO takes it."""
    claims: tuple[ClaimLine, ...]
    more: int
    """Claims that are not listed."""


def columns(samples: Sequence[Sample]) -> list[Column]:
    """The samples, the best first."""
    rewards = [s.row["reward"] for s in samples if s.row["reward"] is not None]
    centre = math.fsum(rewards) / len(rewards) if rewards else 0.0
    squares = math.fsum((reward - centre) ** 2 for reward in rewards)
    spread = math.sqrt(squares / len(rewards)) if rewards else 0.0
    return [_column(sample, centre, spread) for sample in samples]


def best_first(samples: Sequence[Sample]) -> list[Sample]:
    """Sorted by reward, those without one last."""
    return sorted(samples, key=lambda s: -math.inf if s.row["reward"] is None else s.row["reward"],
                  reverse=True)  # fmt: skip


def rows(samples: Sequence[Sample]) -> list[Row]:
    """Components and criteria across the samples; the criteria that differ most first."""
    components = [
        _row("All rubrics", "weighted mean", [s.row["rubric_reward"] for s in samples]),
        _row("Citation F1", "", [s.row["citation_f1"] for s in samples]),
        _row("Format", "share of checks", [s.row["format_bonus"] for s in samples]),
    ]
    titles = dict.fromkeys((r.title, r.polarity) for s in samples for r in s.verdicts.rubrics)
    criteria = [_row(*key, [_score(sample, key) for sample in samples]) for key in titles]
    return components + sorted(criteria, key=lambda row: -_spread(row.cells))


def _score(sample: Sample, key: tuple[str, str]) -> float | None:
    found = (r.score for r in sample.verdicts.rubrics if (r.title, r.polarity) == key)
    return next(found, None)


def _row(title: str, note: str, values: Sequence[float | None]) -> Row:
    cells = tuple(map(grade, values))
    return Row(title, note, cells, _spread(cells) >= _DIFFERENT)


def _spread(cells: Sequence[Grade]) -> float:
    known = [cell.value for cell in cells if cell.value is not None]
    return max(known) - min(known) if known else 0.0


def _column(sample: Sample, centre: float, spread: float) -> Column:
    reward, claims = sample.row["reward"], sample.verdicts.claims
    return Column(
        line=rollout_line(sample.row),
        advantage=_advantage(reward, centre, spread),
        claims=tuple(map(_claim, claims[:_CLAIMS])),
        more=max(0, len(claims) - _CLAIMS),
    )


def _advantage(reward: float | None, centre: float, spread: float) -> str:
    if reward is None:
        return "–"
    return figure((reward - centre) / spread if spread else 0.0, "+.2f")


def _claim(claim: KeptClaim) -> ClaimLine:
    return ClaimLine(
        text=claim.text,
        sign=sign_of(claim.support),
        level=level_of(claim.support),
        fabricated=len(claim.fabricated),
    )
