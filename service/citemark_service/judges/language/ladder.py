"""Shorter prompts for a server that takes fewer tokens than a prompt has.

A budget in bytes cannot know a server's context or tokenizer: a digit may be a token of its own.
So a prompt that is refused for its length is written anew by a writer with a smaller budget, in
which each part keeps its share, until the server takes it. Where the context is known to be short
for ordinary text, the first prompt is short, too.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable

from citemark_service.errors import PromptTooLong
from citemark_service.judges.language.render import PROMPT_BYTES, Prompt, PromptWriter
from citemark_service.judges.language.texts import size

_STEP = 0.87
_BYTES_PER_TOKEN = PROMPT_BYTES / 32_768  # of ordinary text, the reply's tokens included
_LEAST_BYTES = 6_000  # the rules and a little of everything

Render = Callable[[PromptWriter], Iterable[Prompt]]


class Ladder:
    """Writers of one kind of prompt, each with a smaller budget than the one before."""

    def __init__(self, writer: PromptWriter) -> None:
        self._writers = [writer]
        while (least := int(self._writers[-1].prompt_bytes * _STEP)) >= _LEAST_BYTES:
            self._writers.append(writer.apart(least))

    def find_first(self, context: int | None) -> PromptWriter:
        """The writer to begin with for a context of so many tokens, None where that is unknown."""
        most = self._writers[0].prompt_bytes if context is None else context * _BYTES_PER_TOKEN
        fit = (writer for writer in self._writers if writer.prompt_bytes <= most)
        return next(fit, self._writers[-1])

    async def find_shorter(
        self, writer: PromptWriter, refusal: PromptTooLong, render: Render
    ) -> PromptWriter:
        """The next writer whose prompts, as `render` has them written in a thread, fit.

        Raises `refusal` where even the last one's do not.
        """

        def longest(candidate: PromptWriter) -> int:
            prompts = render(candidate.apart())
            return max(sum(size(each.content) for each in said.messages) for said in prompts)

        def find() -> int:
            limit = longest(writer) * refusal.fits
            start = self._writers.index(writer) + 1
            return bisect_left(self._writers, -limit, lo=start, key=lambda each: -longest(each))

        at = await asyncio.to_thread(find)  # it takes seconds for the longest of rollouts
        if at == len(self._writers):
            raise refusal
        return self._writers[at]
