"""What a signal does to a run: it ends where it is, and says how to go on.

No checkpoint is written then. A signal comes in the middle of a step, whose half-used generation
and half-summed gradients no exact resume could begin from; the step's end may be minutes away,
with a service that is away longer still; and a checkpoint of a large policy alone takes longer
than the seconds that launchers and schedulers leave before they kill. What is lost is time, of at
most `--save_steps` steps: a resumed run does them again, with the same rewards.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM, where Ctrl-C is a KeyboardInterrupt.

    Of its kind, since event loops and libraries let that one through and swallow others.
    """


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated` within the block; to be entered on the main thread."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    raise Terminated


def signal_of(interrupt: KeyboardInterrupt) -> signal.Signals:
    """The signal that an interrupt stands for."""
    return signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
