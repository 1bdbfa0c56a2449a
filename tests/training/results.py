"""Results as the service returns them, written by hand."""

from typing import Any

from citemark_grpo.training.reward import JudgedRollout
from citemark_schemas import (
    CitationScore,
    ClaimScore,
    Failure,
    FailureKind,
    FormatReport,
    JudgeUsage,
    Knobs,
    Polarity,
    Refusal,
    RefusalKind,
    RubricScore,
    ScoreResult,
    Source,
    Versions,
)


def rubric(title: str, score: float, *, source: Source = Source.INSTANCE) -> RubricScore:
    return RubricScore(
        title=title, polarity=Polarity.POSITIVE, source=source, weight=1.0, raw=score, score=score
    )


def result(reward: float | None = 5.0, **more: Any) -> ScoreResult:
    """A judged rollout, or a failed one where the reward is None."""
    failed = Failure(kind=FailureKind.TIMEOUT, message="late", retryable=True)
    fields: dict[str, Any] = {
        "id": "0",
        "reward": reward,
        "rubric_reward": None if reward is None else 0.4,
        "citation": CitationScore(
            recall=0.5, precision=0.5, f1=0.5, score=0.5, claims=1, uncited_factual=0.0,
            citations=1, fabricated=0, malformed=0, duplicates=0,
        ),
        "format": FormatReport(checks={}, bonus=1.0),
        "failure": failed if reward is None else None,
        "judge": JudgeUsage(model="example/judge"),
        "knobs": Knobs(verification_reward=10.0),
        "rollout_hash": "00",
        "versions": Versions(service="1.2", scoring="1", prompts="p1", static_rubrics="v3@abc"),
    }  # fmt: skip
    return ScoreResult(**{**fields, **more})


def refused(reward: float) -> ScoreResult:
    refusal = Refusal(kind=RefusalKind.NOT_STOPPED, message="cut")
    return result(reward, refusal=refusal, rubric_reward=None, citation=None)


def claim(text: str) -> ClaimScore:
    return ClaimScore(text=text, ids=("S1",), support=1.0, substantive=1.0, span=(0, 1))


def judged(found: ScoreResult | None, question: str = "Why?", response: str = "So.") -> Any:
    return JudgedRollout(question, response, "stop", found)
