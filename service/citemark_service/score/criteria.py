"""Which criteria a rollout is judged by: its own, then the static set, each once. Pure."""

from collections.abc import Iterable

from citemark_rubrics import RubricLibrary, RubricSet, UnknownSet
from citemark_schemas import Criterion, Knobs, ProblemDetail, Rollout
from citemark_service.errors import InvalidRequest


def _invalid(loc: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{loc}: {message}", details=(ProblemDetail(loc=loc, message=message),))


def static_set(library: RubricLibrary, knobs: Knobs) -> RubricSet | None:
    """The static set that the knobs choose; None where they leave it out.

    Raises:
        InvalidRequest: `static_rubrics` names no set.
    """
    if knobs.instance_rubrics_only:
        return None
    try:
        return library.named(knobs.static_rubrics)
    except UnknownSet as error:
        raise _invalid("static_rubrics", str(error)) from error


def _distinct(criteria: Iterable[Criterion]) -> tuple[Criterion, ...]:
    """Drop repeats, which would count twice; refuse those that disagree on their weight."""
    kept: dict[tuple[str, str, str], Criterion] = {}
    for criterion in criteria:
        first = kept.setdefault(criterion.key, criterion)
        if first.weight != criterion.weight:
            message = f"{criterion.title!r} is given twice, with other weights"
            raise _invalid("rubrics", message)
    return tuple(kept.values())


def chosen_criteria(rollout: Rollout, static: RubricSet | None) -> tuple[Criterion, ...]:
    """Instance criteria in the order given, then static ones; at least one with weight > 0.

    Raises:
        InvalidRequest: a criterion is repeated with another weight, or nothing would count.
    """
    criteria = _distinct(rollout.criteria + (static.criteria if static else ()))
    if not any(criterion.weight for criterion in criteria):
        raise _invalid("rubrics", "no criterion with a weight above 0, and no static set")
    return criteria
