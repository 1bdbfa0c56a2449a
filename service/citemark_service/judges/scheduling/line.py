"""The order in which waiting calls are served. Pure; every operation takes constant time.

Lower priority numbers come first. Callers of one priority take turns, one call each. What one
caller waits for is served group by group in order of arrival, so that a group's calls follow
each other while the server still has their common prefix.
"""

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

RUN: Final = 64
"""Calls of one group served in a row before the caller's other groups have their turn, so that
a group that never ends does not keep them out; a group of eight makes 16 calls."""

T = TypeVar("T")


class Turn(Protocol):
    """What a place in the line depends on; a `ChatRequest` is one."""

    @property
    def priority(self) -> int:
        """Lower goes first."""
        ...

    @property
    def caller(self) -> str:
        """Who is to have a fair share."""
        ...

    @property
    def affinity(self) -> str:
        """The group."""
        ...


# Ordered dictionaries and not plain ones: those look past every removed entry for their first.
_Group = OrderedDict[T, None]


class _Desk(Generic[T]):
    """What one caller waits for."""

    def __init__(self) -> None:
        self.groups: OrderedDict[str, _Group[T]] = OrderedDict()
        self._run = 0

    def pop(self) -> T:
        affinity, group = next(iter(self.groups.items()))
        waiting, _ = group.popitem(last=False)
        self._run += 1
        if not group:
            del self.groups[affinity]
            self._run = 0
        elif self._run >= RUN:
            self.groups.move_to_end(affinity)
            self._run = 0
        return waiting


class Line(Generic[T]):
    """Everything that waits, each item once; items are hashable."""

    def __init__(self) -> None:
        self.size = 0
        """How many wait; kept up to date here, only read elsewhere."""
        self._priorities: dict[int, OrderedDict[str, _Desk[T]]] = {}

    def push(self, turn: Turn, item: T) -> None:
        """Let `item` wait."""
        desks = self._priorities.setdefault(turn.priority, OrderedDict())
        desk = desks.get(turn.caller)
        if desk is None:
            desk = desks[turn.caller] = _Desk()
        desk.groups.setdefault(turn.affinity, OrderedDict())[item] = None
        self.size += 1

    def pop(self) -> T:
        """Take out whose turn it is.

        Raises:
            IndexError: nothing waits.
        """
        if not self.size:
            raise IndexError("nothing waits")
        priority = min(self._priorities)
        desks = self._priorities[priority]
        caller, desk = next(iter(desks.items()))
        item = desk.pop()
        desks.move_to_end(caller)
        self.size -= 1
        self._tidy(priority, caller)
        return item

    def discard(self, turn: Turn, item: T) -> None:
        """Take `item` out, which came with `turn`, where it still waits."""
        desks = self._priorities.get(turn.priority)
        desk = desks.get(turn.caller) if desks else None
        group = desk.groups.get(turn.affinity) if desk else None
        if desk is None or group is None or item not in group:
            return
        del group[item]
        self.size -= 1
        if not group:
            del desk.groups[turn.affinity]
            self._tidy(turn.priority, turn.caller)

    def _tidy(self, priority: int, caller: str) -> None:
        """Forget callers and priorities for which nothing waits."""
        desks = self._priorities[priority]
        if not desks[caller].groups:
            del desks[caller]
        if not desks:
            del self._priorities[priority]
