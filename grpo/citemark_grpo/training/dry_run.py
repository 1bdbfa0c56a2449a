"""A plan on paper: the flags, the configuration, the token budget and the rows."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any, Final

from citemark_grpo.training.budget import Lengths, StepBudget, step_budget
from citemark_grpo.training.plan import Batch, Outcome, Plan
from citemark_grpo.training.rows import Prepared, shortfall

OPTIMIZER: Final = (
    "optim", "optim_args", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs",
    "warmup_steps", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
)  # fmt: skip
"""What decides about an update, in one place, changed or not."""


def flag_lines(outcomes: tuple[Outcome, ...]) -> Iterator[str]:
    """One flag a line: its value, whether it was given, and what became of it."""
    for outcome in outcomes:
        origin = "" if outcome.given else "  (default)"
        yield f"--{outcome.flag.name} {_shown(outcome.value)}{origin}"
        yield f"    {outcome.flag.effect}"
        yield f"    {_became(outcome)}"


def _became(outcome: Outcome) -> str:
    if outcome.refusal is not None:
        return f"REFUSED: {outcome.refusal}"
    parts = [f"{place} = {_shown(value)}" for place, value in outcome.parts.items()]
    return "-> " + ("; ".join(parts) or "left as it is")


def config_lines(values: Mapping[str, Any]) -> Iterator[str]:
    """Settings by name, one a line."""
    yield from (f"{name} = {_shown(values[name])}" for name in sorted(values))


def budget_lines(budget: StepBudget, lengths: Lengths, batch: Batch) -> Iterator[str]:
    """The tokens of a step, bounded and by the rows' own lengths."""
    yield f"rollouts               {budget.rollouts:>12,}"
    yield f"at most                {budget.bound:>12,} tokens"
    yield f"  prompts              {budget.prompt_bound:>12,}"
    yield f"  responses            {budget.response_bound:>12,}"
    yield f"with these rows        {budget.expected_bound:>12,} tokens, responses of full length"
    yield f"  prompts              {budget.prompt_expected:>12,}"
    yield (
        f"a prompt has {lengths.mean:.0f} tokens on average, median {lengths.median}, "
        f"95% up to {lengths.p95}, longest {lengths.longest}"
    )
    yield (
        f"each of {batch.world_size} processes: {budget.micro_batches} micro-batches of at most "
        f"{budget.micro_batch_bound:,} tokens, padding included (--pack_length allows "
        f"{batch.pack_tokens:,})"
    )


def row_lines(prepared: Prepared) -> Iterator[str]:
    """How many rows are left, and why the others are not."""
    yield f"kept     {len(prepared.rows):>8,}"
    yield f"dropped  {prepared.dropped.total():>8,}"
    for reason, count in prepared.dropped.most_common():
        yield f"  {count:,} {reason} (first: {prepared.examples[reason]})"
    if prepared.static_only:
        yield f"{prepared.static_only:,} of these have no rubric but the static set's"


def changed_lines(
    resolved: Mapping[str, Any], defaults: Mapping[str, Any], told: Collection[str]
) -> Iterator[str]:
    """What was told or is not at its default, one setting a line, and the default beside it."""
    for name in sorted(_changed(resolved, defaults) | set(told)):
        beside = "" if resolved[name] == defaults[name] else f"  (default {_shown(defaults[name])})"
        yield f"{name} = {_shown(resolved[name])}{beside}"


def _changed(resolved: Mapping[str, Any], defaults: Mapping[str, Any]) -> set[str]:
    return {name for name, value in resolved.items() if value != defaults[name]}


def report(
    plan: Plan,
    prepared: Prepared,
    resolved: Mapping[str, Any],
    defaults: Mapping[str, Any],
    lacking: Collection[str],
) -> Iterator[str]:
    """The whole dry run, line by line.

    Args:
        resolved: The trainer's settings, all of them, as the run has them.
        defaults: The same as the libraries have them.
        lacking: What the run needs and this machine has not.
    """
    lengths = Lengths.of([row.tokens for row in prepared.rows])
    yield from _section("Flags", flag_lines(plan.outcomes))
    yield from _section("Policy", config_lines(asdict(plan.policy)))
    optimizer = (f"{name} = {_shown(resolved[name])}" for name in OPTIMIZER)
    yield from _section("Optimizer", optimizer)
    changed = changed_lines(resolved, defaults, plan.trainer)
    yield from _section("Trainer configuration", changed)
    left = resolved.keys() - plan.trainer.keys() - _changed(resolved, defaults) - {*OPTIMIZER}
    untouched = config_lines({name: resolved[name] for name in left})
    yield from _section("Left at the defaults of TRL and transformers", untouched)
    knobs = plan.knobs.model_dump(exclude_unset=True)
    yield from _section("Knobs of the reward", config_lines(knobs))
    budget = step_budget(plan.batch, plan.rows, lengths)
    yield from _section("Token budget of a step", budget_lines(budget, lengths, plan.batch))
    yield from _section("Rows", chain(row_lines(prepared), _shortfall(prepared, plan.batch)))
    if lacking:
        yield from _section("This machine could not run it, and lacks", iter(lacking))


def _shortfall(prepared: Prepared, batch: Batch) -> Iterator[str]:
    missing = shortfall(len(prepared.rows), batch)
    if missing is not None:
        yield f"REFUSED: {missing}"


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield title
    yield from (f"  {line}" for line in lines)
    yield ""


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
