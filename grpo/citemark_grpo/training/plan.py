"""A run as a value: the flags' values resolved into what each part of the run needs. Pure."""

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
"""The whole table; the command line, the dry run and the docs are made of it."""

_FIXED: Final[Mapping[str, Any]] = {
    # The reward reads the row's other columns.
    "remove_unused_columns": False,
    # Tables of rollouts are ours: TRL's would hold every prompt of the step.
    "log_completions": False,
}


@dataclass(frozen=True, slots=True)
class PolicySource:
    """The model that is trained; `license` is for the model card."""

    path: str
    dtype: str
    attn_implementation: str
    license: str
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
class StepShape:
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

    def reject_rows(self, rows: int) -> str | None:
        """Why so many rows make no step; None where they do."""
        if rows >= self.prompts:
            return None
        return (
            f"{rows} rows are fewer than --num_unique_prompts_rollout {self.prompts}: "
            "no step would be whole"
        )


@dataclass(frozen=True, slots=True)
class ServicePatience:
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
class FlagOutcome:
    """What became of one flag; `value` is as it may be printed."""

    flag: Flag
    value: Any
    given: bool
    parts: Parts
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One run, resolved."""

    trainer: Mapping[str, Any]
    """Keyword arguments of TRL's GRPOConfig."""
    policy: PolicySource
    rows: RowRules
    batch: StepShape
    service: ServicePatience
    knobs: Knobs
    """Sent with every rollout; all that the run fixes are set."""
    resume: str
    dry_run: bool
    samples_every: int
    """Steps between two pages of sampled rollouts."""
    outcomes: tuple[FlagOutcome, ...]
    """One a flag, in the table's order."""


def resolve_flags(given: Mapping[str, Any], machine: Machine) -> tuple[FlagOutcome, ...]:
    """What each flag becomes, refusals among them; `given` maps names to values.

    Raises:
        Declined: a flag is unknown.
    """
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
    """The plan of the flags that were given, on that machine.

    Raises:
        Declined: a flag is unknown or cannot be honoured; all of them are named.
    """
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
        knobs=Knobs(**sections["knobs"]),
        **sections["plan"],
        outcomes=outcomes,
    )
