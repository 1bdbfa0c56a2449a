"""An instant judge in a process of its own: each reply fills in the shape that its prompt shows.

    PYTHONPATH=tests python benchmarks/shaped_judge.py [--seconds 0.2] [--quote TEXT] [--keep FILE]
        [--times FILE]

Prints its base URL, and serves until its standard input ends. Every reply carries log
probabilities with eight alternatives a token, as vLLM sends them. `--keep` writes each request's
body as one line, `--times` the monotonic second at which it was there.
"""

import argparse
import asyncio
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import msgspec
import uvloop

from support.judge_tasks import filled
from support.scripted_judge import Answer, Hang, Listed, Reply, ScriptedJudge, always, completion

_DIGITS = {"V": 2, "S": 2, "U": 1, "C": 1, "F": 1}
_TOKEN = re.compile(r"\d| ?[A-Za-z]+|[^\w\s]+|\s")
_MENU = ("0", "1", "2")
_NEIGHBOURS = (" {", ' "', '",', "}", " the", ":", "3", "\n")
_ALTERNATIVES = 8


class _Message(msgspec.Struct):
    content: str


class _Request(msgspec.Struct):
    messages: list[_Message]


_REQUEST = msgspec.json.Decoder(_Request)


class ShapedJudge(ScriptedJudge):
    """Reads no more of a request than its shape, and writes each reply once."""

    def __init__(
        self, *, seconds: float, quote: str, keep: BinaryIO | None, times: BinaryIO | None
    ) -> None:
        super().__init__(always(Hang()))
        self._seconds = seconds
        self._quote = quote
        self._keep = keep
        self._times = times
        self._replies: dict[str, Reply] = {}
        self._written: dict[str | None, bytes] = {}

    def began(self, _headers: dict[str, str], body: bytes) -> Answer:
        """Answer by the last line of the prompt."""
        if self._keep is not None:
            self._keep.write(body + b"\n")
            self._keep.flush()
        if self._times is not None:
            self._times.write(b"%r\n" % time.monotonic())
            self._times.flush()
        prompt = _REQUEST.decode(body).messages[-1].content
        shape = prompt[prompt.rindex("\n") + 1 :]
        if shape not in self._replies:
            self._replies[shape] = self._reply(shape)
        return self._replies[shape]

    def ended(self, *, abandoned: bool) -> None:
        """Nothing is counted here."""

    def body_of(self, reply: Reply) -> bytes:
        """The encoded reply, by its text: hashing its tokens would cost more than a call."""
        if reply.content not in self._written:
            self._written[reply.content] = completion(reply)
        return self._written[reply.content]

    def _reply(self, shape: str) -> Reply:
        content = filled(shape, quote=self._quote, **_DIGITS)
        tokens = tuple(weigh_token(text) for text in _TOKEN.findall(content))
        return Reply(content, tokens=tokens, completion_tokens=len(tokens), delay_s=self._seconds)


def weigh_token(text: str) -> Listed:
    """A token among its neighbours; a digit among the digits."""
    menu = (text, *(digit for digit in _MENU if text.isdigit() and digit != text))
    texts = [*menu, *_NEIGHBOURS][:_ALTERNATIVES]
    pairs = [(other, -0.0124375 - 1.6458315 * rank) for rank, other in enumerate(texts)]
    return Listed(text, pairs[0][1], tuple(pairs))


async def _input_ends() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


async def _serve(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        keep, times = (
            stack.enter_context(file.open("ab")) if file else None
            for file in (options.keep, options.times)
        )
        judge = ShapedJudge(seconds=options.seconds, quote=options.quote, keep=keep, times=times)
        async with judge:
            sys.stdout.write(judge.url + "\n")
            sys.stdout.flush()
            await _input_ends()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--quote", default="")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--times", type=Path)
    uvloop.run(_serve(parser.parse_args()))
