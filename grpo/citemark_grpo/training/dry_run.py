"""A plan as text: the flags, the configuration, the token budget and the rows."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from statistics import fmean
from typing import Any, Final

from citemark_grpo.training.plan import FlagOutcome, Plan, RowRules, StepShape
from citemark_grpo.training.rows import PreparedRows

# Shown together, changed or not.
OPTIMIZER: Final = (
    "optim", "optim_args", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs",
    "warmup_steps", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
)  # fmt: skip


def report_budget(step: StepShape, rules: RowRules, lengths: Sequence[int]) -> Iterator[str]:
    """Tokens of one optimizer step over all processes: the bound, and what these rows take.

    `lengths` are tokens of each row's prompt, at least one; percentiles are by nearest rank.
    """
    longest = min(rules.max_prompt_tokens, rules.max_tokens - rules.response_tokens)
    responses = step.rollouts * rules.response_tokens
    prompts, expected = step.rollouts * longest, round(step.rollouts * fmean(lengths))
    ordered = sorted(lengths)
    median, p95 = (ordered[max(0, math.ceil(q * len(ordered)) - 1)] for q in (0.5, 0.95))
    yield f"rollouts               {step.rollouts:>12,}"
    yield f"at most                {prompts + responses:>12,} tokens"
    yield f"  prompts              {prompts:>12,}"
    yield f"  responses            {responses:>12,}"
    yield f"with these rows        {expected + responses:>12,} tokens, responses of full length"
    yield f"  prompts              {expected:>12,}"
    yield (
        f"a prompt has {fmean(lengths):.0f} tokens on average, median {median}, "
        f"95% up to {p95}, longest {ordered[-1]}"
    )
    yield (
        f"each of {step.world_size} processes: "
        f"{step.rollouts // (step.sequences * step.world_size)} micro-batches of at most "
        f"{step.sequences * (longest + rules.response_tokens):,} tokens, padding included "
        f"(--pack_length allows {step.pack_tokens:,})"
    )


def report_flags(outcomes: tuple[FlagOutcome, ...]) -> Iterator[str]:
    for outcome in outcomes:
        origin = "" if outcome.given else "  (default)"
        yield f"--{outcome.flag.name} {_render(outcome.value)}{origin}"
        yield f"    {outcome.flag.effect}"
        if outcome.refusal is not None:
            yield f"    REFUSED: {outcome.refusal}"
        else:
            parts = [f"{place} = {_render(value)}" for place, value in outcome.parts.items()]
            yield "    -> " + ("; ".join(parts) or "left as it is")


def report_rows(prepared: PreparedRows) -> Iterator[str]:
    yield f"kept     {len(prepared.rows):>8,}"
    yield f"dropped  {prepared.dropped.total():>8,}"
    for reason, count in prepared.dropped.most_common():
        yield f"  {count:,} {reason} (first: {prepared.examples[reason]})"
    if prepared.static_only:
        yield f"{prepared.static_only:,} of these have no rubric but the static set's"


def report_plan(
    plan: Plan,
    prepared: PreparedRows,
    resolved: Mapping[str, Any],
    defaults: Mapping[str, Any],
    lacking: Collection[str],
) -> Iterator[str]:
    """The whole dry run, line by line.

    `resolved` and `defaults` have the same keys: all settings of the trainer, as the run and as the
    libraries set them.
    """
    changed = {name for name, value in resolved.items() if value != defaults[name]}
    shown = changed | plan.trainer.keys()
    beside = {
        name: f"  (default {_render(defaults[name])})" if name in changed else "" for name in shown
    }
    refusal = plan.batch.reject_rows(len(prepared.rows))
    yield from _section("Flags", report_flags(plan.outcomes))
    yield from _section("Policy", _settings(asdict(plan.policy)))
    optimizer = (f"{name} = {_render(resolved[name])}" for name in OPTIMIZER)
    yield from _section("Optimizer", optimizer)
    told = (f"{name} = {_render(resolved[name])}{beside[name]}" for name in sorted(shown))
    yield from _section("Trainer configuration", told)
    left = resolved.keys() - shown - {*OPTIMIZER}
    untouched = _settings({name: resolved[name] for name in left})
    yield from _section("Left at the defaults of TRL and transformers", untouched)
    yield from _section("Knobs of the reward", _settings(plan.knobs.model_dump(exclude_unset=True)))
    lengths = [row.tokens for row in prepared.rows]
    budget = report_budget(plan.batch, plan.rows, lengths)
    yield from _section("Token budget of a step", budget)
    rows = chain(report_rows(prepared), [f"REFUSED: {refusal}"] if refusal else ())
    yield from _section("Rows", rows)
    if lacking:
        yield from _section("This machine could not run it, and lacks", lacking)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield title
    yield from (f"  {line}" for line in lines)
    yield ""


def _settings(values: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name} = {_render(values[name])}" for name in sorted(values))


def _render(value: Any) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
