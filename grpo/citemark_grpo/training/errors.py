"""Why a run does not start or does not go on, one tree.

    TrainingError
    ├── Declined          flags that this trainer cannot honour; `reasons` has one line a flag
    ├── RowsUnusable      the data set cannot be read, or too few rows of it are left
    ├── MissingExtra      a library that the plan needs is not installed
    ├── JudgementsMissing more judgements failed in a step than the run allows; before its update,
    │                     on every process alike
    ├── PolicyUnsaved     the run ended, and the disk has no room for what it trained
    └── Stopped           a signal ended the run; the message says how to go on

The command line prints the message without a traceback and exits with `status`.
"""

from collections.abc import Mapping
from signal import SIGINT, SIGTERM


class TrainingError(Exception):
    """Root of the tree."""

    status = 1
    """Exit status: 2 where the command is wrong, 1 where the run failed."""


class Declined(TrainingError):
    """Flags that would have no effect, or another than their name says."""

    status = 2

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"--{name}: {reason}" for name, reason in reasons.items()))
        self.reasons = dict(reasons)


class RowsUnusable(TrainingError):
    status = 2


class MissingExtra(TrainingError):
    status = 2


class JudgementsMissing(TrainingError):
    """Too many rollouts of a step came back without a reward."""


class PolicyUnsaved(TrainingError):
    """All steps are done, and neither the policy nor a checkpoint of the last step is written."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, where Ctrl-C is a KeyboardInterrupt.

    Of its kind, since event loops and libraries let that one through and swallow others.
    """


class Stopped(TrainingError):
    """A signal ended the run; `status` is 128 and its number, as shells have it."""

    def __init__(self, interrupt: KeyboardInterrupt, where: str) -> None:
        signal = SIGTERM if isinstance(interrupt, Terminated) else SIGINT
        super().__init__(f"stopped by {signal.name} {where}")
        self.status = int(128 + signal)
