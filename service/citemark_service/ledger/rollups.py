"""The running sums of steps and groups, from rows of rollouts. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from citemark_service.ledger.entry import Row

STEP_KEY: Final = ("run", "step")
GROUP_KEY: Final = ("run", "step", "group_key")
LOW: Final = frozenset({"reward_min", "first_at"})
"""Columns that keep the lesser value."""
HIGH: Final = frozenset({"reward_max", "last_at"})
"""Columns that keep the greater value; all others are summed."""


def step_rows(rows: Iterable[Row]) -> list[Row]:
    """What these rollouts add to `steps`, one row a step."""
    return _merged(rows, STEP_KEY, _of_step)


def group_rows(rows: Iterable[Row]) -> list[Row]:
    """What these rollouts add to `groups`, one row a group."""
    return _merged(rows, GROUP_KEY, _counts)


def merged(name: str, old: float | None, new: float | None) -> float | None:
    """A column's value after both; None is no value yet."""
    if old is None or new is None:
        return new if old is None else old
    if name in LOW:
        return min(old, new)
    return max(old, new) if name in HIGH else old + new


def _merged(rows: Iterable[Row], key: tuple[str, ...], of: Callable[[Row], Row]) -> list[Row]:
    sums: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        place = tuple(row[name] for name in key)
        sums[place] = _both(sums.get(place), of(row))
    return [dict(zip(key, place, strict=True)) | values for place, values in sums.items()]


def _both(old: Mapping[str, Any] | None, new: Row) -> Row:
    if old is None:
        return new
    return {name: merged(name, old[name], value) for name, value in new.items()}


def _of_step(row: Row) -> Row:
    reward = row["reward"]
    return {
        **_counts(row),
        "refused": int(row["refusal"] is not None),
        "judged": int(row["rubric_reward"] is not None),
        "cited": int(row["citation_f1"] is not None),
        "reward_squares": (reward or 0.0) ** 2,
        "rubric_sum": row["rubric_reward"] or 0.0,
        "f1_sum": row["citation_f1"] or 0.0,
        "format_sum": row["format_bonus"],
        "fabricated": row["fabricated"],
        "addressed": int(row["addressed"] > 0),
        "chars_sum": float(row["chars"]),
        "chars_squares": 0.0 if reward is None else float(row["chars"]) ** 2,
        "chars_reward": (reward or 0.0) * row["chars"],
        "first_at": row["at"],
    }


def _counts(row: Row) -> Row:
    reward = row["reward"]
    return {
        "rollouts": 1,
        "rewarded": int(reward is not None),
        "failed": int(row["failure"] is not None),
        "reward_sum": reward or 0.0,
        "reward_min": reward,
        "reward_max": reward,
        "last_at": row["at"],
    }
