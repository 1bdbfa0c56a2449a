"""What a flag of a run is: a name, a type, a default, an effect, and what it becomes.

What it becomes are entries of the plan, `section.field`, as `trainer.beta`: the sections are
described in `plan`. A flag that cannot be honoured raises `Unsupported` with the reason.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Kind = type[bool] | type[int] | type[float] | type[str]
Parts = Mapping[str, Any]
"""Entries of the plan by their dotted place."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a plan must know of where it runs."""

    world_size: int = 1
    """Processes of the run, one a GPU."""
    cuda: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """Every flag's value, given or default, and the machine."""

    values: Mapping[str, Any]
    machine: Machine

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def world_size(self) -> int:
        """The processes that the run is planned for."""
        return self["world_size"] or self.machine.world_size


class Unsupported(Exception):
    """A value that this trainer cannot honour; the message is the reason."""


Becomes = Callable[[Any, Chosen], Parts]


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of the run."""

    name: str
    kind: Kind
    default: Any
    effect: str
    """What it does, in a line; for `--help`, the dry run and the docs."""
    becomes: Becomes
    choices: tuple[str, ...] = ()
    above: float | None = None
    """The value must be greater."""
    least: float | None = None
    most: float | None = None
    required: bool = False
    told: Callable[[Any], Any] = lambda value: value
    """The value as it may be printed, without a secret that it holds."""

    def parts(self, chosen: Chosen) -> Parts:
        """The entries of the plan that it makes. Raises `Unsupported`."""
        value = chosen[self.name]
        self._refuse_out_of_range(value)
        return self.becomes(value, chosen)

    def _refuse_out_of_range(self, value: Any) -> None:
        if value is None or isinstance(value, str | bool):
            return
        if isinstance(value, float) and not math.isfinite(value):
            raise Unsupported(f"must be a finite number, not {value:g}")
        if self.above is not None and not value > self.above:
            raise Unsupported(f"must be greater than {self.above:g}, not {value:g}")
        if self.least is not None and not value >= self.least:
            raise Unsupported(f"must be at least {self.least:g}, not {value:g}")
        if self.most is not None and not value <= self.most:
            raise Unsupported(f"must be at most {self.most:g}, not {value:g}")


def sets(*places: str) -> Becomes:
    """The value itself, at each of `places`."""
    return lambda value, _: dict.fromkeys(places, value)


def sets_where_given(*places: str) -> Becomes:
    """The value at each of `places`; nothing where the flag was not given."""
    return lambda value, _: {} if value is None else dict.fromkeys(places, value)
