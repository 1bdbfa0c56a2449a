"""A ledger whose entries are logged, and whose waits are traced."""

import logging
from typing import Final

from opentelemetry.trace import Tracer

from citemark_service.ledger.entry import Entry, Keeper
from citemark_service.printable import printable
from citemark_service.telemetry.logs import log_fields
from citemark_service.telemetry.traces import open_span

_CLIP: Final = 500

_rollouts = logging.getLogger("citemark.rollouts")
_unjudged = logging.getLogger("citemark.unjudged")


class ObservedLedger:
    """Logs each rollout that nobody judged, and all of them where that is wanted.

    Args:
        ledger: where entries are kept, if anywhere. Those of many rollouts share one write; each
            has a span of its own wait.
        texts: whether every rollout is logged with the beginnings of its texts, which are
            otherwise in no line of the log.
    """

    def __init__(self, ledger: Keeper | None, *, tracer: Tracer, texts: bool) -> None:
        self._ledger = ledger
        self._tracer = tracer
        self._texts = texts

    async def keep(self, entry: Entry) -> None:
        """Log the entry, then as `Keeper.keep`."""
        failure = entry.result.failure
        if failure is not None:
            _unjudged.warning(
                "no reward: %s: %s",
                failure.kind.value,
                failure.message,
                extra=log_fields(kind=failure.kind.value, retryable=failure.retryable),
            )
        if self._texts:
            _log_rollout(entry)
        if self._ledger is not None:
            with open_span(self._tracer, "ledger"):
                await self._ledger.keep(entry)


def _log_rollout(entry: Entry) -> None:
    reward = entry.result.reward
    question, response = _clip(entry.rollout.question), _clip(entry.rollout.response)
    _rollouts.info(
        "reward=%s question=%r response=%r",
        reward,
        question,
        response,
        extra=log_fields(
            reward=reward,
            run=entry.run,
            step=entry.step,
            group=entry.rollout.group,
            question=question,
            response=response,
        ),
    )


def _clip(text: str) -> str:
    return printable(text[:_CLIP]) + ("…" if len(text) > _CLIP else "")
