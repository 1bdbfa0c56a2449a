"""What a row must hold so that a reward on it means something. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic_core import to_json

from citemark_rubrics import RubricLibrary
from citemark_schemas import Criterion, Knobs, Polarity, Rollout
from citemark_schemas.envelope import EnvelopeError
from citemark_service.errors import InvalidRequest
from citemark_service.judges.language.render import Budget
from citemark_service.judges.language.shorten import size
from citemark_service.parsing.parsed import Sources
from citemark_service.parsing.sources import read_sources
from citemark_service.score.reading import check_rollout
from citemark_service.trainers.faults import Fault, error, warning
from citemark_service.trainers.prompts import messages_of
from citemark_service.trainers.tasks import rollout_anywhere, rollout_in
from citemark_service.trainers.trainer import Row, Trainer

_NO_IDS: Final = "write each result as <snippet id=ID>…</snippet>, or give snippets"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the service takes, and what its judge sees."""

    rollout_bytes: int
    """`max_rollout_bytes` of the settings."""
    prompt: Budget
    """Of the criteria prompt; what is longer is cut."""
    knobs: Knobs
    library: RubricLibrary


@dataclass(frozen=True, slots=True)
class Checked:
    """A row with what is wrong with it."""

    rollout: Rollout | None
    """None where the trainer's reward would find none."""
    faults: Sequence[Fault]


def checked(row: Row, trainer: Trainer, limits: Limits) -> Checked:
    """Everything that can be known of a row before the policy answers."""
    faults = list(trainer.faults(row))
    try:
        rollout = rollout_in(row, trainer)
    except EnvelopeError as failure:
        return Checked(None, [*faults, *_unread(row, trainer, failure)])
    sources = read_sources(rollout.tool_output, rollout.snippets)
    faults += _rubric_faults(rollout, row, trainer)
    faults += _source_faults(rollout, sources)
    faults += _limit_faults(rollout, row, trainer, limits)
    faults += _cut(rollout, sources, limits.prompt)
    return Checked(rollout, faults)


def _unread(row: Row, trainer: Trainer, failure: EnvelopeError) -> Iterator[Fault]:
    misplaced = list(_misplaced(row, trainer))
    yield from misplaced
    if not misplaced:
        for detail in failure.details:
            fix = f"the envelope belongs into {trainer.carries}"
            yield error(detail.loc, detail.message, fix)


def _misplaced(row: Row, trainer: Trainer) -> Iterator[Fault]:
    """Rubrics that the row has, where this trainer sends nothing from."""
    try:
        elsewhere = rollout_anywhere(row)
    except EnvelopeError:
        return
    if elsewhere.criteria:
        fix = f"citemark convert --to {trainer.name} puts them into {trainer.carries}"
        yield error("rubrics", f"stand where {trainer.title} sends nothing from", fix)


def _rubric_faults(rollout: Rollout, row: Row, trainer: Trainer) -> Iterator[Fault]:
    misplaced = [] if rollout.criteria else list(_misplaced(row, trainer))
    yield from misplaced or _without_positive(rollout.criteria)


def _source_faults(rollout: Rollout, sources: Sources) -> Iterator[Fault]:
    if not sources.by_id:
        field = "tool_output" if rollout.snippets is None else "snippets"
        yield warning(field, "defines no source id: every citation will count as made up", _NO_IDS)


def _without_positive(criteria: Sequence[Criterion]) -> Iterator[Fault]:
    if any(each.weight and each.polarity is Polarity.POSITIVE for each in criteria):
        return
    problem = "no positive criterion: an empty claim earns the negative criteria's share"
    if not criteria:
        problem = "no rubric of its own: the static set alone is judged"
    yield warning("positive_rubrics", problem, "say what a good answer states")


def _limit_faults(rollout: Rollout, row: Row, trainer: Trainer, limits: Limits) -> Iterator[Fault]:
    yield from _refusals(rollout, limits)
    sent = len(to_json(rollout)) + (_prompt_bytes(row, trainer) if trainer.sends_prompt else 0)
    if sent > limits.rollout_bytes:
        fix = "raise CITEMARK_MAX_ROLLOUT_BYTES, or shorten the tool output"
        told = f"{sent} bytes of {limits.rollout_bytes}"
        yield error("row", "is larger than the service takes, without any response", fix, told)


def _refusals(rollout: Rollout, limits: Limits) -> Iterator[Fault]:
    # The policy is not asked yet, so it cannot have stopped wrongly.
    knobs = Knobs.resolve(limits.knobs, rollout)
    try:
        check_rollout(rollout.model_copy(update={"finish_reason": "stop"}), knobs, limits.library)
    except InvalidRequest as refused:
        for detail in refused.details:
            yield error(detail.loc, detail.message, "the service would refuse the row")


def _prompt_bytes(row: Row, trainer: Trainer) -> int:
    return len(to_json(messages_of(trainer.prompt(row)), fallback=str))


def _cut(rollout: Rollout, sources: Sources, budget: Budget) -> Iterator[Fault]:
    """What a language model as judge would see shortened."""
    for field, length, room, fix in (
        ("question", size(rollout.question), budget.question, "shorten it"),
        (
            "tool_output",
            sum(size(source.text) for source in sources.by_id.values()),
            budget.sources,
            "of each source the judge sees the parts nearest to the question; fewer are better",
        ),
        (
            "rubrics",
            sum(size(each.title) + size(each.description) for each in rollout.criteria),
            budget.items,
            "fewer or shorter criteria",
        ),
    ):
        if length > room:
            problem = "is longer than the judge's prompt has room for"
            yield warning(field, problem, fix, f"{length} bytes of {room}")
