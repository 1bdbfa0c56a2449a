"""A rollout as parsed, and whether it is judged at all. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from citemark_rubrics import RubricLibrary, RubricSet
from citemark_schemas import (
    Criterion,
    FormatReport,
    Knobs,
    ProblemDetail,
    RefusalKind,
    Rollout,
    Snippet,
)
from citemark_service.errors import InvalidRequest
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.format import format_report
from citemark_service.parsing.parsed import Answer, Sources
from citemark_service.parsing.sources import read_sources
from citemark_service.score.criteria import chosen_criteria, static_set
from citemark_service.score.fingerprint import rollout_hash

ReadSources = Callable[[str | None, tuple[Snippet, ...] | None], Sources]
"""`read_sources`, or one that remembers."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that judging and scoring one rollout need."""

    id: str
    rollout: Rollout
    rollout_hash: str
    knobs: Knobs
    """Settings, request and rollout merged."""
    criteria: tuple[Criterion, ...]
    static_rubrics: str
    """Name and version of the static set, or `none`."""
    sources: Sources
    answer: Answer
    format: FormatReport


def check_rollout(rollout: Rollout, knobs: Knobs, library: RubricLibrary) -> None:
    """Refuse what the schema cannot know to be wrong.

    Raises:
        InvalidRequest: an unknown static set, no countable criterion, a repeated criterion,
            or `non_stop_penalty` without a `finish_reason`; the message names the field.
    """
    chosen_criteria(rollout, static_set(library, knobs))
    if knobs.non_stop_penalty and rollout.finish_reason is None:
        detail = ProblemDetail(
            loc="finish_reason", message="is needed where non_stop_penalty is true"
        )
        raise InvalidRequest(f"{detail.loc}: {detail.message}", details=(detail,))


def read_rollout(
    rollout: Rollout,
    knobs: Knobs,
    library: RubricLibrary,
    position: int,
    *,
    sources_of: ReadSources = read_sources,
) -> Reading:
    """Parse a rollout that has passed `check_rollout`; `position` is the id of one without."""
    static = static_set(library, knobs)
    sources = sources_of(rollout.tool_output, rollout.snippets)
    answer = read_answer(rollout.response)
    return Reading(
        id=named(rollout, position),
        rollout=rollout,
        rollout_hash=rollout_hash(rollout),
        knobs=knobs,
        criteria=chosen_criteria(rollout, static),
        static_rubrics=pinned(static),
        sources=sources,
        answer=answer,
        format=format_report(answer, sources),
    )


def pinned(static: RubricSet | None) -> str:
    """A static set as results record it: `name@version`, or `none`."""
    return f"{static.name}@{static.version}" if static else "none"


def named(rollout: Rollout, position: int) -> str:
    """The rollout's id, or its index in the request where it has none."""
    return rollout.id if rollout.id is not None else str(position)


def refusal_of(reading: Reading) -> RefusalKind | None:
    """Why a rollout is not judged; a cut-off one first, since it rarely has a whole answer."""
    if reading.knobs.non_stop_penalty and reading.rollout.finish_reason != "stop":
        return RefusalKind.NOT_STOPPED
    return reading.answer.refusal
