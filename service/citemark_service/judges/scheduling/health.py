"""Whether one server is fit for calls. Counts and clocks only; who asks it is elsewhere."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from citemark_service.errors import (
    JudgeError,
    JudgeServerError,
    JudgeTimeout,
    JudgeUnreachable,
)

_DISTRESS: Final = (JudgeUnreachable, JudgeTimeout, JudgeServerError)
"""Errors that speak against the server, not against the call, its deadline or the load."""


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """When a server is given up and when it is looked at again."""

    failures: int = 3
    """So many calls that fail in a row eject a server."""
    every_s: float = 3.0
    """Between looks at a server that is up; none is needed where calls were answered since."""
    first_wait_s: float = 0.5
    """Before the first look at an ejected server; doubled with each until a call is answered."""
    max_wait_s: float = 30.0
    """The longest such wait."""
    check_s: float = 4.0
    """How long one look may take; less than `/readyz` waits for all of them."""


class Health:
    """Up until calls fail in a row or a look fails; up again after a look or a call succeeds."""

    def __init__(self, policy: HealthPolicy, on_change: Callable[[], None]) -> None:
        self.up = True
        self.answers = 0
        """Calls answered so far."""
        self._policy = policy
        self._on_change = on_change
        self._failures = 0
        self._looks = 0
        self._changed = asyncio.Event()

    def answered(self) -> None:
        """A call succeeded."""
        self.answers += 1
        self._failures = self._looks = 0
        if not self.up:
            self._turn(up=True)

    def failed(self, error: JudgeError) -> None:
        """A call failed."""
        if isinstance(error, _DISTRESS):
            self._failures += 1
            if self._failures >= self._policy.failures:
                self.eject()

    def eject(self) -> None:
        """Give the server up, where that has not been done."""
        if self.up:
            self._turn(up=False)

    def looked(self, failure: JudgeError | None) -> None:
        """A look ended. It brings a server back on probation: one call that fails ejects it
        again, for a server whose engine has died may still list its model.
        """
        if failure is None and self.up:
            return
        self._looks += 1  # the next look has to wait longer, until a call is answered
        if failure is not None:
            self.eject()
        else:
            self._failures = self._policy.failures - 1
            self._turn(up=True)

    async def pause(self) -> bool:
        """Wait until the next look is due; False where the server's state changed first."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s()):
                await self._changed.wait()
        return not self._changed.is_set()

    def _turn(self, *, up: bool) -> None:
        self.up = up
        self._changed.set()
        self._on_change()

    def _wait_s(self) -> float:
        if self.up:
            return self._policy.every_s
        doublings = min(max(0, self._looks - 1), 16)
        wait_s = min(self._policy.max_wait_s, self._policy.first_wait_s * 2.0**doublings)
        # Spread, so that many services do not fall upon a server that has just come back.
        return wait_s * random.uniform(0.75, 1.25)  # noqa: S311 - a spread, not a secret
