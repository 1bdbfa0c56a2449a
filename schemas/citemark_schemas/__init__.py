"""Citemark's contract: what goes in, what a judge says, what comes out. Pydantic only."""

from citemark_schemas.details import to_details
from citemark_schemas.envelope import EnvelopeError, rollout_of
from citemark_schemas.failure import Failure, FailureKind, Refusal, RefusalKind
from citemark_schemas.knobs import CitationStyle, CitationUnit, Knobs, ReadStyle
from citemark_schemas.rescore import (
    LeftOut,
    RescoreRequest,
    RescoreResponse,
    RewardMove,
    StepRewards,
)
from citemark_schemas.rollout import (
    BatchOptions,
    Priority,
    RequestOptions,
    Rollout,
    ScoreRequest,
    Snippet,
    Turn,
)
from citemark_schemas.rubric import Criterion, Source
from citemark_schemas.score import (
    CitationScore,
    ClaimScore,
    FormatReport,
    JudgeUsage,
    Loss,
    Problem,
    ProblemDetail,
    RubricScore,
    ScoreResponse,
    ScoreResult,
    ScoreWarning,
    SentenceScore,
    Span,
    StreamLine,
    Term,
    Versions,
)
from citemark_schemas.signals import SIGNALS, metrics_of
from citemark_schemas.transcript import (
    continuation,
    question_in,
    reply_in,
    sources_in,
    tools_in,
    unwrap_response,
)
from citemark_schemas.verdict import ClaimVerdict, CriterionVerdict, SentenceVerdict, WarningKind
from citemark_schemas.weights import Polarity

__all__ = [
    "SIGNALS",
    "BatchOptions",
    "CitationScore",
    "CitationStyle",
    "CitationUnit",
    "ClaimScore",
    "ClaimVerdict",
    "Criterion",
    "CriterionVerdict",
    "EnvelopeError",
    "Failure",
    "FailureKind",
    "FormatReport",
    "JudgeUsage",
    "Knobs",
    "LeftOut",
    "Loss",
    "Polarity",
    "Priority",
    "Problem",
    "ProblemDetail",
    "ReadStyle",
    "Refusal",
    "RefusalKind",
    "RequestOptions",
    "RescoreRequest",
    "RescoreResponse",
    "RewardMove",
    "Rollout",
    "RubricScore",
    "ScoreRequest",
    "ScoreResponse",
    "ScoreResult",
    "ScoreWarning",
    "SentenceScore",
    "SentenceVerdict",
    "Snippet",
    "Source",
    "Span",
    "StepRewards",
    "StreamLine",
    "Term",
    "Turn",
    "Versions",
    "WarningKind",
    "continuation",
    "metrics_of",
    "question_in",
    "reply_in",
    "rollout_of",
    "sources_in",
    "to_details",
    "tools_in",
    "unwrap_response",
]
