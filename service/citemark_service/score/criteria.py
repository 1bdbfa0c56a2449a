"""Which criteria count for a rollout: its own and the static set's. Pure."""

from citemark_rubrics import RubricLibrary, RubricSet, UnknownSet
from citemark_schemas import Criterion, Knobs, ProblemDetail, Rollout
from citemark_service.errors import InvalidRequest


def check_rollout(rollout: Rollout, knobs: Knobs, library: RubricLibrary) -> None:
    """Check what the schema cannot.

    Raises:
        InvalidRequest: an unknown static set, no countable criterion, a repeated criterion,
            or `non_stop_penalty` without a `finish_reason`; the message names the field.
    """
    choose_criteria(rollout, find_static_set(library, knobs))
    seen: dict[tuple[str, str], Criterion] = {}
    for criterion in rollout.criteria:
        if (first := seen.setdefault(criterion.key[1:], criterion)) is not criterion:
            how = "" if first.polarity == criterion.polarity else ", with either sign"
            raise _invalid("rubrics", f"{criterion.title!r} is given twice{how}: keep one")
    if knobs.non_stop_penalty and rollout.finish_reason is None:
        raise _invalid("finish_reason", "is needed where non_stop_penalty is true")


def find_static_set(library: RubricLibrary, knobs: Knobs) -> RubricSet | None:
    """The chosen static set, None with `instance_rubrics_only`; raises `InvalidRequest`."""
    if knobs.instance_rubrics_only:
        return None
    try:
        return library.find(knobs.static_rubrics)
    except UnknownSet as error:
        raise _invalid("static_rubrics", str(error)) from error


def choose_criteria(rollout: Rollout, static: RubricSet | None) -> tuple[Criterion, ...]:
    """Instance criteria in the order given, then static ones, without duplicates.

    Raises:
        InvalidRequest: a criterion is repeated with another weight, or none has a weight > 0.
    """
    chosen: dict[tuple[str, str, str], Criterion] = {}
    for criterion in rollout.criteria + (static.criteria if static else ()):
        first = chosen.setdefault(criterion.key, criterion)
        if first.weight != criterion.weight:
            raise _invalid(
                "rubrics", f"{criterion.title!r} is given twice, with other weights: keep one"
            )
    if not any(criterion.weight for criterion in chosen.values()):
        raise _invalid("rubrics", "no criterion with a weight above 0, and no static set")
    return tuple(chosen.values())


def _invalid(loc: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{loc}: {message}", details=(ProblemDetail(loc=loc, message=message),))


def static_pin(static: RubricSet | None) -> str:
    """`name@version`, or `none`: how results record the static set."""
    return f"{static.name}@{static.version}" if static else "none"
