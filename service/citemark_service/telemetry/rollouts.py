"""What the log says of rollouts: each that nobody judged, and all of them where that is wanted."""

import logging
from typing import Final

from citemark_schemas import Failure
from citemark_service.ledger.entry import Entry, Keeper
from citemark_service.printable import printable
from citemark_service.telemetry.lines import told

_CLIP: Final = 500

_log = logging.getLogger("citemark.rollouts")
_unjudged = logging.getLogger("citemark.unjudged")


class RolloutLog:
    """A keeper that tells the log of each entry before another keeps it.

    Args:
        keeper: where entries go from here, if anywhere.
        texts: whether every rollout is told of with the beginnings of its texts, which are
            otherwise in no line of the log.
    """

    def __init__(self, keeper: Keeper | None, *, texts: bool) -> None:
        self._keeper = keeper
        self._texts = texts

    async def keep(self, entry: Entry) -> None:
        """Tell, then as the keeper behind."""
        if entry.result.failure is not None:
            _tell_failure(entry.result.failure)
        if self._texts:
            _tell(entry)
        if self._keeper is not None:
            await self._keeper.keep(entry)


def _tell_failure(failure: Failure) -> None:
    facts = {"kind": failure.kind.value, "retryable": failure.retryable}
    _unjudged.warning("no reward: %s: %s", failure.kind.value, failure.message, extra=told(facts))


def _tell(entry: Entry) -> None:
    question, response = clipped(entry.rollout.question), clipped(entry.rollout.response)
    facts = {
        "reward": entry.result.reward,
        "run": entry.run,
        "step": entry.step,
        "group": entry.rollout.group,
        "question": question,
        "response": response,
    }
    _log.info(
        "reward=%s question=%r response=%r",
        entry.result.reward,
        question,
        response,
        extra=told(facts),
    )


def clipped(text: str) -> str:
    """The beginning of a text, at most 500 characters and a mark, with control characters shown."""
    return printable(text[:_CLIP]) + ("…" if len(text) > _CLIP else "")
