"""A run as a value: the flags' values resolved into what each part of the run is told. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr

from citemark_grpo.training.errors import Declined
from citemark_grpo.training.flags import Chosen, Flag, Machine, Parts, Unsupported
from citemark_grpo.training.further import FURTHER
from citemark_grpo.training.published import PUBLISHED
from citemark_schemas import Knobs

FLAGS: Final = (*PUBLISHED, *FURTHER)
"""The whole table; the command line, the dry run and the docs are made of it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The model that is trained."""

    path: str
    dtype: str
    attn_implementation: str
    license: str
    """For the model card."""
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class RowRules:
    """Where the rows come from and which are kept; lengths in the policy's tokens."""

    dataset: str
    split: str
    max_prompt_tokens: int
    response_tokens: int
    max_tokens: int
    prompt_template: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimizer step, over all processes."""

    prompts: int
    samples: int
    sequences: int
    """In one forward pass of one process."""
    pack_tokens: int
    """Most tokens of such a pass, padding included."""
    world_size: int

    @property
    def rollouts(self) -> int:
        """Responses that are sampled, judged and learnt from in a step."""
        return self.prompts * self.samples


@dataclass(frozen=True, slots=True)
class Service:
    """The reward service, and how patient the run is with it."""

    url: str
    run: str
    timeout_s: float
    """For one call that is being judged."""
    wait_s: float
    """For a service that is away, on top."""
    max_failed_share: float
    token: SecretStr | None = None
    """What the URL held; one in the environment wins."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where the run starts and whether it does."""

    resume: str
    dry_run: bool
    samples_every: int
    """Steps between two tables of sampled rollouts."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one flag."""

    flag: Flag
    value: Any
    """As it may be printed."""
    given: bool
    parts: Parts
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One run, resolved."""

    trainer: Mapping[str, Any]
    """Keyword arguments of TRL's GRPOConfig."""
    policy: Policy
    rows: RowRules
    batch: Batch
    service: Service
    knobs: Knobs
    """Sent with every rollout; all that the run fixes are set."""
    course: Course
    outcomes: tuple[Outcome, ...]
    """One a flag, in the table's order."""


def outcomes_of(given: Mapping[str, Any], machine: Machine) -> tuple[Outcome, ...]:
    """What each flag becomes, refusals among them; `given` maps names to values."""
    defaults = {flag.name: flag.default for flag in FLAGS}
    if unknown := given.keys() - defaults.keys():
        raise Declined(dict.fromkeys(sorted(unknown), "is no flag of this trainer"))
    chosen = Chosen({**defaults, **given}, machine)
    return tuple(_outcome(flag, chosen, flag.name in given) for flag in FLAGS)


def _outcome(flag: Flag, chosen: Chosen, given: bool) -> Outcome:
    value = chosen[flag.name]
    if flag.required and value is None:
        return Outcome(flag, value, given, {}, "must be given")
    told = flag.told(value)
    try:
        return Outcome(flag, told, given, flag.parts(chosen))
    except Unsupported as error:
        return Outcome(flag, told, given, {}, str(error))


def plan_of(given: Mapping[str, Any], machine: Machine | None = None) -> Plan:
    """The plan of the flags that were given, on that machine.

    Raises:
        Declined: a flag is unknown or cannot be honoured; all of them are named.
    """
    outcomes = outcomes_of(given, machine or Machine())
    refused = {o.flag.name: o.refusal for o in outcomes if o.refusal is not None}
    if refused:
        raise Declined(refused)
    return _assembled(outcomes)


def _assembled(outcomes: tuple[Outcome, ...]) -> Plan:
    sections: dict[str, dict[str, Any]] = defaultdict(dict)
    for outcome in outcomes:
        for place, value in outcome.parts.items():
            section, _, field = place.partition(".")
            sections[section][field] = value
    return Plan(
        trainer={**_FIXED, **sections["trainer"]},
        policy=Policy(**sections["policy"]),
        rows=RowRules(**sections["rows"]),
        batch=Batch(**sections["batch"]),
        service=Service(**sections["service"]),
        knobs=Knobs(**sections["knobs"]),
        course=Course(**sections["course"]),
        outcomes=outcomes,
    )


_FIXED: Final[Mapping[str, Any]] = {
    # The reward reads the row's other columns.
    "remove_unused_columns": False,
    # Tables of rollouts are ours: TRL's would hold every prompt of the step.
    "log_completions": False,
}
"""What no flag changes."""
