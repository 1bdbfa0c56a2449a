"""What the dialects count for Prometheus. Labels are dialects' names and closed sets."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from citemark_schemas import ScoreResult, Source
from citemark_service.web.dialects.dialect import Dialect, OnError, Outcome

_ENDS: Final = ("judged", "static_only", "refused", "fallback", "mask", "null", "http")


class DialectCounts:
    """Counters of the dialects that a service speaks; a label's children are bound once."""

    def __init__(self, registry: CollectorRegistry, dialects: Sequence[Dialect]) -> None:
        rollouts = Counter(
            "citemark_dialect_rollouts",
            "Rollouts answered in a trainer's protocol, by what came of them; static_only were "
            "judged without a rubric of their own.",
            ("dialect", "outcome"),
            registry=registry,
        )
        self._rollouts = {
            (dialect.name, end): rollouts.labels(dialect.name, end)
            for dialect in dialects
            for end in _ENDS
        }
        self._requests = _plain(registry, dialects, "requests", "Requests in it.")
        self._bad = _plain(registry, dialects, "bad_requests", "Requests in it answered with 422.")
        self._reposts = _plain(
            registry, dialects, "reposts", "Requests answered from a judgement whose client left."
        )

    def request(self, dialect: str) -> None:
        """A request came."""
        self._requests[dialect].inc()

    def bad_request(self, dialect: str) -> None:
        """A request was malformed."""
        self._bad[dialect].inc()

    def repost(self, dialect: str) -> None:
        """A request found its judgement under way or done."""
        self._reposts[dialect].inc()

    def rollout(self, dialect: str, outcome: Outcome, on_error: OnError) -> None:
        """A rollout has its outcome; a failed one counts under what `on_error` made of it."""
        self._rollouts[dialect, on_error if outcome.failed else _end(outcome.result)].inc()


def _end(result: ScoreResult) -> str:
    """What came of a rollout that has a reward."""
    if result.refusal is not None:
        return "refused"
    own = any(rubric.source is Source.INSTANCE for rubric in result.rubrics)
    return "judged" if own else "static_only"


def _plain(
    registry: CollectorRegistry, dialects: Sequence[Dialect], name: str, text: str
) -> dict[str, Counter]:
    counter = Counter(f"citemark_dialect_{name}", text, ("dialect",), registry=registry)
    return {dialect.name: counter.labels(dialect.name) for dialect in dialects}
