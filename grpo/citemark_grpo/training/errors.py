"""Why a run does not start or ends early. The command line prints the message, without a traceback,
and exits with `status`.

    TrainingError
    ├── Declined          flags that this trainer cannot honour
    ├── RowsUnusable      the data set cannot be read, or too few rows of it are left
    ├── MissingExtra      a library that the plan needs is not installed
    ├── JudgementsMissing more judgements failed in a step than the run allows
    ├── PolicyUnsaved     the run ended, and the disk has no room for the policy
    └── Stopped           a signal ended the run; the message says how to resume
"""

from collections.abc import Mapping
from signal import SIGINT, SIGTERM


class TrainingError(Exception):
    status = 1  # the run failed; 2: the command is wrong


class Declined(TrainingError):
    """Flags without effect, or with another than their name says; `reasons` is by flag."""

    status = 2

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"--{name}: {reason}" for name, reason in reasons.items()))
        self.reasons = dict(reasons)


class RowsUnusable(TrainingError):
    status = 2


class MissingExtra(TrainingError):
    status = 2


class JudgementsMissing(TrainingError):
    """Raised before the step's update, in every process."""


class PolicyUnsaved(TrainingError):
    """All steps are done, and neither the policy nor a checkpoint of the last step is written."""


class Terminated(KeyboardInterrupt):
    """SIGTERM; a KeyboardInterrupt, since event loops and libraries swallow other exceptions."""


class Stopped(TrainingError):
    """`status` is 128 plus the signal's number, as in shells."""

    def __init__(self, interrupt: KeyboardInterrupt, where: str) -> None:
        signal = SIGTERM if isinstance(interrupt, Terminated) else SIGINT
        super().__init__(f"stopped by {signal.name} {where}")
        self.status = int(128 + signal)
