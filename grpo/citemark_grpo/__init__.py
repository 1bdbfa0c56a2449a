"""The trainers' side of the reward service; imports no web server and no torch.

`trl`, `verl`, `slime`, `openrlhf`, `verifiers`, `skyrl` and `open_instruct` hold the reward as each
trainer takes it, and in their docstrings the flags to paste.
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
