"""What a trainer installs: the HTTP client of the reward service. No web server, no torch.

client        ScoreClient and score: rollouts in, results out; await_service: waits for a service
trl, verl, slime, openrlhf, verifiers, skyrl, open_instruct
              the reward as each trainer takes one; their docstrings have the flags to paste
settings      where the service is, from CITEMARK_URL and its like
source        what the trainers' modules share: one connection pool a process
"""

from citemark_grpo.client import ScoreClient, await_service, score
from citemark_grpo.errors import (
    Broken,
    Overloaded,
    Refused,
    ScoreError,
    SettingsError,
    TimedOut,
    Unjudged,
    Unreachable,
    Unreadable,
)

__all__ = [
    "Broken",
    "Overloaded",
    "Refused",
    "ScoreClient",
    "ScoreError",
    "SettingsError",
    "TimedOut",
    "Unjudged",
    "Unreachable",
    "Unreadable",
    "await_service",
    "score",
]
