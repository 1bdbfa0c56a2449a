"""A judge in a process of its own whose verdicts are a pure function of what its prompt shows.

It fails or delays a share of its calls, and serves until its standard input ends.
"""

import asyncio
import hashlib
import math
import os
import random
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from support.judge_tasks import shape_of
from support.scripted_judge import Answer, Hang, Listed, Raw, Reply, Reset, ScriptedJudge, Status

FAULTY = 0.06
"""Share of the calls that fail; as many others are slow."""
FAULTS: tuple[Answer, ...] = (
    *(Status(code, headers={"retry-after": "0"}) for code in (400, 429, 500, 503)),
    *(Reset(), Reset(sent=40), Hang(), Raw(b'{"id":"x","choices":[{'), Raw(b"<html>no</html>")),
    Reply("I cannot judge this."),
    Reply(None, finish_reason="content_filter"),
    Reply('{"1":', finish_reason="length"),
)
_PART = re.compile(r"<(question|sources|answer|claims|sentences|criteria)-(\w+)>\n(.*?)\n</\1-\2>", re.DOTALL)  # fmt: skip # noqa: E501
_SOURCE = re.compile(r"<source (\S+)>\n(.*)")
_CLAIM = re.compile(r"\d+\. <cite (\S+)>(.*)</cite>")
_NUMBERED = re.compile(r"\d+\. (.*)")


@dataclass(frozen=True)
class Verdict:
    """A digit in 0…`top` with the probability `share`, and another with the rest."""

    digit: int
    other: int
    share: float
    top: int

    @property
    def mean(self) -> float:
        """In [0, 1]."""
        return (self.digit * self.share + self.other * (1 - self.share)) / self.top

    @property
    def token(self) -> Listed:
        shares = ((self.digit, self.share), (self.other, 1 - self.share))
        listed = tuple((str(digit), math.log(share)) for digit, share in shares)
        return Listed(*listed[0], listed)


def draw(top: int, *shown: str) -> Verdict:
    first, second, *rest = hashlib.sha256("\0".join(shown).encode()).digest()
    digit = first % (top + 1)
    other = (digit + 1 + second % top) % (top + 1)
    return Verdict(digit, other, 0.55 + 0.4 * int.from_bytes(rest[:4]) / 2**32, top)


def judge_claim(question: str, claim: str, cited: Mapping[str, str]) -> list[Verdict]:
    """Support, use, and where there are several sources what each contributes, in their order.

    Names of sources do not count: the service takes claims for equal that differ in them alone.
    """
    shown = (question, claim, *sorted(cited.values()))
    parts = [draw(1, text, *shown) for text in cited.values()] if len(cited) > 1 else []
    return [draw(2, "support", *shown), draw(1, "use", *shown), *parts]


def judge_prompt(prompt: str) -> list[Verdict]:
    """The verdicts in the order of the reply."""
    parts = {name: text for name, _, text in _PART.findall(prompt)}
    question, sources = parts["question"], dict(_SOURCE.findall(parts["sources"]))
    if "criteria" in parts:
        words = " ".join(re.sub("<[^>]*>", " ", parts["answer"]).split())
        lines = _NUMBERED.findall(parts["criteria"])
        return [draw(2, question, *sources.values(), words, line) for line in lines]
    verdicts: list[Verdict] = []
    for ids, text in _CLAIM.findall(parts["claims"]):
        verdicts += judge_claim(question, text, {name: sources[name] for name in ids.split(",")})
    sentences = _NUMBERED.findall(parts.get("sentences", ""))
    return verdicts + [draw(1, question, text) for text in sentences]


async def serve(port: int) -> None:
    dice = random.Random(port)

    def answer(request: dict[str, Any]) -> Answer:
        judge.requests.clear()
        judge.headers.clear()
        if dice.random() < FAULTY:
            return dice.choice(FAULTS)
        prompt = request["messages"][-1]["content"]
        if "<question-" not in prompt:  # the service looks whether the judge is well
            return Reply("Yes")
        verdicts = iter(judge_prompt(prompt))
        pieces = enumerate(re.split("([VSUCF])", shape_of(request)))
        tokens = tuple(next(verdicts).token if at % 2 else Listed(text) for at, text in pieces)
        assert next(verdicts, None) is None, "the reply has a place for each verdict"
        slow = dice.random() < FAULTY
        return Reply("".join(token.text for token in tokens), tokens=tokens, delay_s=0.5 * slow)

    async with ScriptedJudge(answer, port=port) as judge:
        sys.stderr.write(f"serving on {judge.url}\n")
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(os.environ["CITEMARK_PORT"])))
