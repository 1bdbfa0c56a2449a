"""A run's plan: the flags' values resolved into what each part of the run needs."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr

from citemark_grpo.training.errors import Declined
from citemark_grpo.training.flags import PUBLISHED, Chosen, Flag, Machine, Parts, Unsupported
from citemark_grpo.training.further import FURTHER
from citemark_schemas import Knobs

FLAGS: Final = (*PUBLISHED, *FURTHER)

_FIXED: Final[Mapping[str, Any]] = {
    # The reward needs the column `rollout`, which no model takes.
    "remove_unused_columns": False,
    # `SamplePages` replaces TRL's tables, which have every prompt of the step.
    "log_completions": False,
}


@dataclass(frozen=True, slots=True)
class PolicySource:
    path: str
    dtype: str
    attn_implementation: str
    license: str  # for the model card
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class RowRules:
    """Lengths are in the policy's tokens."""

    dataset: str
    split: str
    max_prompt_tokens: int
    response_tokens: int
    max_tokens: int
    prompt_template: str | None = None


@dataclass(frozen=True, slots=True)
class StepShape:
    """One optimizer step, over all processes."""

    prompts: int
    samples: int  # of each prompt
    sequences: int  # in one forward pass of one process
    pack_tokens: int  # bound of such a pass, padding included
    world_size: int

    @property
    def rollouts(self) -> int:
        return self.prompts * self.samples

    def reject_rows(self, rows: int) -> str | None:
        """The reason why there are too few rows for a step, else None."""
        if rows >= self.prompts:
            return None
        return (
            f"{rows} rows are fewer than --num_unique_prompts_rollout {self.prompts}: "
            "no step would be whole"
        )


@dataclass(frozen=True, slots=True)
class ServicePatience:
    url: str
    run: str
    timeout_s: float
    """For judging what was sent at once."""
    wait_s: float
    """For a service that is away, in addition."""
    max_failed_share: float
    token: SecretStr | None = None
    """Of the URL; one in the environment wins."""


@dataclass(frozen=True, slots=True)
class FlagOutcome:
    flag: Flag
    value: Any  # without secrets
    given: bool
    parts: Parts
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One run, resolved; the fields but the last are the sections of `Parts`."""

    trainer: Mapping[str, Any]
    """Keyword arguments of TRL's GRPOConfig."""
    policy: PolicySource
    rows: RowRules
    batch: StepShape
    service: ServicePatience
    knobs: Knobs
    """Sent with every rollout; set are those that the run fixes."""
    # These three are of the section `plan`.
    resume: str
    dry_run: bool
    samples_every: int
    outcomes: tuple[FlagOutcome, ...]
    """In the order of `FLAGS`."""


def resolve_flags(given: Mapping[str, Any], machine: Machine) -> tuple[FlagOutcome, ...]:
    """The outcome of each flag, refused ones included. Raises `Declined` for an unknown one."""
    defaults = {flag.name: flag.default for flag in FLAGS}
    if unknown := given.keys() - defaults.keys():
        raise Declined(dict.fromkeys(sorted(unknown), "is no flag of this trainer"))
    chosen = Chosen({**defaults, **given}, machine)
    outcomes = []
    for flag in FLAGS:
        value, refusal = chosen[flag.name], None
        parts: Parts = {}
        if flag.required and value is None:
            refusal = "must be given"
        else:
            try:
                parts = flag.parts(chosen)
            except Unsupported as error:
                refusal = str(error)
        printable = None if value is None else flag.redact(value)
        outcomes.append(FlagOutcome(flag, printable, flag.name in given, parts, refusal))
    return tuple(outcomes)


def plan_run(given: Mapping[str, Any], machine: Machine | None = None) -> Plan:
    """The plan of the flags in `given`. Raises `Declined`, which names all that are refused."""
    outcomes = resolve_flags(given, machine or Machine())
    refused = {each.flag.name: each.refusal for each in outcomes if each.refusal is not None}
    if refused:
        raise Declined(refused)
    sections: dict[str, dict[str, Any]] = defaultdict(dict)
    for outcome in outcomes:
        for place, value in outcome.parts.items():
            section, _, field = place.partition(".")
            sections[section][field] = value
    return Plan(
        trainer={**_FIXED, **sections["trainer"]},
        policy=PolicySource(**sections["policy"]),
        rows=RowRules(**sections["rows"]),
        batch=StepShape(**sections["batch"]),
        service=ServicePatience(**sections["service"]),
        # The published run knew no other notation; rows cannot change it.
        knobs=Knobs(citation_style="snippet", **sections["knobs"]),
        **sections["plan"],
        outcomes=outcomes,
    )
