"""What a trainer installs: the HTTP client of the reward service. No web server, no torch."""

from citemark_grpo.client import ScoreClient, score
from citemark_grpo.errors import (
    Broken,
    Overloaded,
    Refused,
    ScoreError,
    TimedOut,
    Unreachable,
    Unreadable,
)

__all__ = [
    "Broken",
    "Overloaded",
    "Refused",
    "ScoreClient",
    "ScoreError",
    "TimedOut",
    "Unreachable",
    "Unreadable",
    "score",
]
