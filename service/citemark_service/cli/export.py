"""`citemark export`, and the flags for a place in the ledger, which `citemark rescore` has too."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from pydantic import BaseModel
from rich.console import Console

from citemark_schemas import SIGNALS, metrics_of
from citemark_service.cli.options import OUTPUT, add_options, setting_option
from citemark_service.cli.terminal import Progress, count_noun, plain
from citemark_service.errors import DataError
from citemark_service.ledger.reading import KeptRollout, LedgerReader, Numbers, Place, ledger_reader
from citemark_service.printable import join_names
from citemark_service.settings import load_settings
from citemark_service.trainers.files import PARQUET, open_writer, suffix_of
from citemark_service.trainers.rows import Shape

_Kept = TypeVar("_Kept", Numbers, list[KeptRollout])

_RUNS: Final = 20
_TEXTS: Final = (
    "run", "group", "id", "at", "finish_reason", "failure", "refusal", "model",
    "service_version", "scoring_version", "prompts_version", "static_rubrics", "rollout_hash",
)  # fmt: skip
_INTEGERS: Final = (
    "seq", "step", "response_chars", "calls", "prompt_tokens", "cached_tokens",
    "completion_tokens",
)  # fmt: skip
_COLUMNS: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(("reward", "verification_reward", *SIGNALS, "latency_s"), float),
    **dict.fromkeys(_INTEGERS, int),
    "cached": bool,
    # These two are complete; the columns before repeat parts of them.
    "rollout": str,
    "result": str,
}
# Signals that need no judged citations.
_ALWAYS: Final = {"rubric_reward", "format_bonus", "refused", "judge_failed"}


def _parse_time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """ISO 8601, in UTC where it has no zone, as Unix time."""
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError as error:
        message = f"{value!r} is no date or time such as 2026-01-31T18:00"
        raise click.BadParameter(message, ctx, parameter) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


_TIME: Final[dict[str, Any]] = {"callback": _parse_time, "metavar": "TIME"}
_add_place = add_options(
    setting_option("ledger", "Where the rollouts are.", metavar="URL"),
    click.option("--run", help="Only this run."),
    click.option("--step", type=int, help="Only this step."),
    click.option("--group", help="Only this group."),
    click.option("--since", help="Only from then on, as 2026-01-31 or with a time.", **_TIME),
    click.option("--until", help="Only before then.", **_TIME),
)


def place_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add the flags of a place in the ledger; the command gets `ledger` and `place`."""

    @functools.wraps(command)
    def with_place(**flags: Any) -> object:
        place = Place(**{each.name: flags.pop(each.name) for each in fields(Place)})
        return command(place=place, **flags)

    return _add_place(with_place)


@contextmanager
def open_ledger(ledger: str | None) -> Iterator[LedgerReader]:
    address = ledger or load_settings().ledger
    if address == "off":
        raise click.UsageError("the ledger is off; name one with --ledger")
    with closing(ledger_reader(address)) as reader:
        yield reader


def require_kept(reader: LedgerReader, place: Place, kept: _Kept) -> _Kept:
    """`kept`; raises `DataError`, with what the ledger does have, where it is empty."""
    if kept:
        return kept
    span = None if place.run is None else reader.kept_steps(place.run)
    if span is None:
        names = [str(row["run"]) or "(unnamed)" for row in reader.runs()]
        there = f"the ledger's runs: {join_names(names, _RUNS) or 'none'}"
    else:
        steps = "step {0}" if span[0] == span[1] else "steps {0} to {1}"
        there = f"the run {place.run} has {steps.format(*span)}"
    raise DataError(f"no rollout is kept there; {there}")


@click.command("export")
@click.argument("output", type=OUTPUT)
@place_options
def command(*, output: Path, ledger: str | None, place: Place) -> None:
    """Write kept rollouts to OUTPUT, JSON lines or Parquet by its ending, in the order of writing.

    One row a rollout: where in training it was, reward, components, versions and cost as plain
    columns, and `rollout` and `result` whole: objects in JSON lines, JSON texts in Parquet.
    `citemark explain` shows rows of such JSON lines. OUTPUT appears when it is complete; what is
    scored meanwhile is not in it.
    """
    dump: Callable[..., Any] = functools.partial(BaseModel.model_dump, mode="json")
    if suffix_of(output) == PARQUET:
        dump = BaseModel.model_dump_json
    console, rows = Console(stderr=True), 0
    with open_ledger(ledger) as reader:
        numbers = require_kept(reader, place, reader.numbers(place))
        with (
            Progress(console, len(numbers), "exporting") as progress,
            open_writer(output, _COLUMNS) as write,
        ):
            for kept in progress.track(reader.whole(numbers)):
                rollout, result = dump(kept.rollout, exclude_unset=True), dump(kept.result)
                write({**_flatten(kept), "rollout": rollout, "result": result})
                rows += 1
    console.print(plain(f"{count_noun(rows, 'rollout')} in {output}"), soft_wrap=True)


def _flatten(kept: KeptRollout) -> dict[str, Any]:
    """The plain columns, None where there is no value; `reward` is scaled as it was answered."""
    result, judge, versions = kept.result, kept.result.judge, kept.result.versions
    signals: dict[str, float | None] = dict(metrics_of(result))
    if result.citation is None:  # not judged: 0 for trainers, None here
        signals |= dict.fromkeys(set(SIGNALS) - _ALWAYS)
    return {
        "seq": kept.seq,
        "run": kept.run,
        "step": kept.step,
        "group": kept.group,
        "at": datetime.fromtimestamp(kept.at, UTC).isoformat(),
        "finish_reason": kept.rollout.finish_reason,
        "response_chars": len(kept.rollout.response),
        "id": result.id,
        "reward": result.reward,
        "verification_reward": result.knobs.verification_reward,
        "failure": None if result.failure is None else result.failure.kind.value,
        "refusal": None if result.refusal is None else result.refusal.kind.value,
        "rollout_hash": result.rollout_hash,
        "cached": result.cached,
        "service_version": versions.service,
        "scoring_version": versions.scoring,
        "prompts_version": versions.prompts,
        "static_rubrics": versions.static_rubrics,
        **signals,
        "reward_std": result.reward_std,
        "rubric_reward": result.rubric_reward,
        **judge.model_dump(),
    }
