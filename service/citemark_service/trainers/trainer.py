"""What Citemark knows of a trainer's data set, as values and pure functions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from citemark_schemas import Rollout
from citemark_service.trainers.faults import Fault
from citemark_service.trainers.shapes import Shape

Row: TypeAlias = Mapping[str, Any]
"""One row of a data set, as JSON has it."""
Messages: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Task:
    """What a row asks for, in no trainer's layout."""

    rollout: Rollout
    """With an empty response."""
    prompt: Messages
    """What the policy sees."""


@dataclass(frozen=True, slots=True)
class Post:
    """One request of a trainer's client."""

    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a trainer that speaks HTTP asks for one reward."""

    posts: Callable[[Row, str], tuple[Post, ...]]
    """The requests for a row and a response, in order; the last one's answer has the reward."""
    reward: Callable[[Any], float | None]
    """The reward in an answer's JSON; None where the sample is masked or the judge failed.

    Raises `ValueError`, `LookupError` or `TypeError` where the trainer could not read it."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """A trainer's data set: where things stand in a row, and what the trainer cannot take."""

    name: str
    """On the command line."""
    title: str
    carries: str
    """Where the envelope travels, for people."""
    flags: str
    """What to tell the trainer about a converted file."""
    places: Callable[[Row], Mapping[str, object]]
    """What the reward gets of a row, strongest first, as `rollout_of` takes it."""
    prompt: Callable[[Row], object]
    """The prompt as it stands in a row; None where it does not."""
    lay: Callable[[Task, int], dict[str, Any]]
    """The row of a task, which is the file's n-th, counted from 0."""
    faults: Callable[[Row], Iterator[Fault]]
    """What is wrong with a row for this trainer, beside its envelope."""
    columns: Mapping[str, Shape]
    """What `lay` may write."""
    sends_prompt: bool = True
    """Whether the reward sees the prompt, so that it may stand in for question and sources."""
    one_type: bool = True
    """Whether rows pass through Arrow, which wants one type for each column."""
    suffixes: tuple[str, ...] = (".jsonl", ".parquet")
    """File endings that it reads."""
    dialect: Dialect | None = None
    """None where a Python callable posts to `/v1/score`."""
