"""One decision for all processes of a run.

What happens to a checkpoint is decided by the process that leads and done by all: a process that
went its own way would leave the others waiting in a collective for ever.
"""

from typing import Protocol, TypeVar

Answer = TypeVar("Answer")


class Ranks(Protocol):
    """The processes of a run, as seen by one of them."""

    @property
    def leads(self) -> bool:
        """Whether this is the one process that decides and deletes."""

    def told(self, answer: Answer) -> Answer:
        """The leader's answer, in every process; what the others pass is ignored."""

    def some(self, flag: bool) -> bool:
        """Whether it is true in at least one process; returns once all have asked."""


class Together:
    """The processes of an initialised accelerate state."""

    def __init__(self, *, leads: bool) -> None:
        self.leads = leads

    def told(self, answer: Answer) -> Answer:
        """Broadcast from process 0."""
        from accelerate.utils import broadcast_object_list  # noqa: PLC0415 - imports torch

        box: list[Answer] = [answer]
        broadcast_object_list(box, from_process=0)
        return box[0]

    def some(self, flag: bool) -> bool:
        """Gathered from all."""
        from accelerate.utils import gather_object  # noqa: PLC0415 - imports torch

        return any(gather_object([flag]))
