"""What has no name, named. Pure."""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from citemark_service.ledger.entry import NO_RUN, NO_STEP
from citemark_service.ledger.reading import Record
from citemark_service.printable import figure
from citemark_service.web.ui import links

Questions = Mapping[str, str]
"""By group key, for groups without a name of their own."""
NO_QUESTIONS: Final[Questions] = MappingProxyType({})

OUTCOMES: Final = ("judged", "refused", "failed")
"""What can become of a rollout: a verdict, no judging because it is no answer, or no verdict."""

_HEX: Final = frozenset("0123456789abcdef")
_TITLE: Final = 64


def run_title(run: str | None) -> str:
    """A run's name, or what stands for rollouts without one."""
    return "without a run" if run in (None, NO_RUN) else str(run)


def step_title(step: int | None) -> str:
    """A step's number, or what stands for none."""
    return "no step" if step in (None, NO_STEP) else f"step {step}"


def group_title(key: str, questions: Questions = NO_QUESTIONS) -> str:
    """A group's own key; of one without, how its question begins, or else a hash in short."""
    if key in questions:
        question = " ".join(questions[key].split())
        return f"{question[:_TITLE]}…" if len(question) > _TITLE else question
    return f"prompt {key[:8]}" if len(key) == 32 and set(key) <= _HEX else key


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals, or a dash where there is none."""
    return "–" if value is None else figure(value, f".{digits}f")


def when(at: float) -> str:
    """Unix time in seconds as UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))


def state(row: Record) -> str:
    """One of `OUTCOMES`."""
    if row["failure"]:
        return "failed"
    return "refused" if row["refusal"] else "judged"


def outcome(row: Record) -> str:
    """What became of a rollout, in a word or two."""
    if row["failure"]:
        return f"failed: {row['failure'].replace('_', ' ')}"
    return f"refused: {row['refusal'].replace('_', ' ')}" if row["refusal"] else "judged"


def unscaled(value: float | None, scale: float) -> float | None:
    """A reward as it was sent, from one that is kept over its scale."""
    return None if value is None else value * scale


def trail(run: str, step: int | None = None, group: str | None = None) -> list[tuple[str, str]]:
    """The way from the first page to here: addresses and names."""
    way = [(links.runs(), "Runs"), (links.run(run), run_title(run))]
    if step is not None:
        way.append((links.step(run, step), step_title(step)))
        if group is not None:
            way.append((links.group(run, step, group), group_title(group)))
    return way
