"""Whether the judge can be reached, asked rarely however often it is wanted."""

import asyncio
import time

from citemark_service.errors import JudgeError, JudgeTimeout
from citemark_service.judges.tasks import Judge


class Readiness:
    """Asks the judge once for all who wait, and remembers the answer for `keep_s` seconds."""

    def __init__(self, judge: Judge, *, timeout_s: float = 5.0, keep_s: float = 2.0) -> None:
        self._judge = judge
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._probe: asyncio.Task[JudgeError | None] | None = None
        self._fresh_until = 0.0

    async def failure(self) -> JudgeError | None:
        """Why the judge cannot be reached, or None where it can."""
        if self._probe is None or (self._probe.done() and time.monotonic() > self._fresh_until):
            self._probe = asyncio.create_task(self._ask())
        # Shielded: one caller that leaves must not cancel the probe of the others.
        return await asyncio.shield(self._probe)

    async def _ask(self) -> JudgeError | None:
        failure: JudgeError | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._judge.check()
        except TimeoutError:
            failure = JudgeTimeout(f"the judge did not answer within {self._timeout_s:g} s")
        except JudgeError as error:
            failure = error
        self._fresh_until = time.monotonic() + self._keep_s
        return failure
