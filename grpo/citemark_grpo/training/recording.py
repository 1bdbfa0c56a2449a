"""The record of a planned run: where it stands, its watch and its card."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from citemark_grpo.training.plan import Plan
from citemark_grpo.training.record.card import CardFacts, ModelCard
from citemark_grpo.training.record.journal import Journal
from citemark_grpo.training.record.samples import SamplePages
from citemark_grpo.training.record.watch import RunWatch

JOURNAL: Final = "journal.jsonl"
SAMPLES: Final = "rollouts"
BOARD: Final = "tensorboard"
PLOT: Final = "rewards.png"

# A card is published: what names this machine, or may hold a secret, stays out of it.
_PRIVATE: Final = frozenset(
    {"dry_run", "output_dir", "resume", "reward_url", "vllm_server_base_url"}
)
_LIBRARIES: Final = ("citemark", "trl", "transformers", "torch")


def run_watch(plan: Plan) -> RunWatch:
    """What writes the journal and the samples into the run's folder."""
    folder = Path(plan.trainer["output_dir"])
    return RunWatch(
        Journal(folder / JOURNAL),
        SamplePages(folder / SAMPLES),
        pages_every=plan.course.samples_every,
    )


def model_card(plan: Plan, watch: RunWatch, *, prompt_version: str) -> ModelCard:
    """What writes the card beside each saved model."""
    facts = CardFacts(
        name=plan.service.run,
        base_model=_public(plan.policy.path),
        license=plan.policy.license,
        knobs=plan.knobs,
        setup={**_setup(plan), "prompt": prompt_version},
        libraries={name: found for name in _LIBRARIES if (found := _version(name))},
    )
    return ModelCard(facts, lambda: watch.last_result)


def _setup(plan: Plan) -> dict[str, Any]:
    return {
        outcome.flag.name: _public(outcome.value)
        for outcome in plan.outcomes
        if outcome.value is not None and outcome.flag.name not in _PRIVATE
    }


def _public(value: Any) -> Any:
    """A path on this machine by its last part."""
    return Path(value).name if isinstance(value, str) and Path(value).exists() else value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
