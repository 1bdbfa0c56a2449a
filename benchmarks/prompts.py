"""The prompts of a step as they were sent: how long they are, and how much of them is shared."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec

from citemark_service.errors import SettingsError
from citemark_service.judges.smollm2 import LlamaServer, model_file
from processes import running_service, scripted_judge
from report import Line
from rounds import batch_round
from workload import Workload

CHARACTERS_PER_TOKEN = 4
TOKENS = 12_000
COMMON_SHARE = 0.6
Text = str | list[int]
"""Characters or tokens."""

_NONCE = re.compile(r"<question-(\w+)>")
_TOKENIZE_S = 60.0


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str
    content: str


class Request(msgspec.Struct):
    """What of a chat request is its prompt."""

    messages: list[Message]

    @property
    def text(self) -> str:
        """All of it, in the order in which a model reads it."""
        return "\n".join(message.content for message in self.messages)

    @property
    def family(self) -> tuple[str, str]:
        """The prompts of one kind and one group of samples."""
        nonce = _NONCE.search(self.messages[-1].content)
        return self.messages[0].content, nonce[1] if nonce else ""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Totals over a step."""

    rollouts: int
    characters: int
    common: int
    """Characters that all samples of a group have in common at the beginning of a prompt."""
    reusable: int
    """Characters that an unbounded prefix cache has seen when a prompt comes."""
    tokens: float | None
    """A rollout's, by SmolLM2's tokenizer; None where that is not installed."""

    @property
    def estimated_tokens(self) -> float:
        """A rollout's, at four characters a token."""
        return self.characters / CHARACTERS_PER_TOKEN / self.rollouts

    @property
    def common_share(self) -> float:
        """In [0, 1]."""
        return self.common / self.characters

    @property
    def reusable_share(self) -> float:
        """In [0, 1]."""
        return self.reusable / self.characters


def keep(step: Workload, stamp: int, file: Path, **settings: object) -> int:
    """Send a step and write the requests to the judge to `file`; bytes of a rollout's answer."""
    with (
        scripted_judge(keep=file) as judge,
        running_service(judge, evidence_quotes=False, **settings) as service,
    ):
        results = batch_round(service, step.batch(stamp)).results
    return sum(len(msgspec.json.encode(result)) for result in results) // len(results)


def read(file: Path) -> list[Request]:
    """The requests in order of arrival."""
    decode = msgspec.json.Decoder(Request).decode
    return [decode(line) for line in file.read_bytes().splitlines()]


def measure(requests: Sequence[Request], *, rollouts: int) -> Prompts:
    """Add up; the first group is counted in tokens as well."""
    texts = [request.text for request in requests]
    return Prompts(
        rollouts=rollouts,
        characters=sum(map(len, texts)),
        common=sum(_common(family) for family in _families(requests)),
        reusable=sum(reused(texts)),
        tokens=_tokens(requests, rollouts),
    )


def lines(step: Workload, stamps: Iterator[int], *, file: Path) -> Iterator[Line]:
    """Length and shared beginnings of a step's prompts."""
    keep(step, next(stamps), file)
    sent = measure(read(file), rollouts=len(step.rollouts))
    yield Line(
        "prompt tokens a rollout",
        sent.estimated_tokens,
        TOKENS,
        note="chars / 4",
        key="prompt_tokens_per_rollout",
    )
    if sent.tokens is not None:
        yield Line("the same by SmolLM2's tokenizer", sent.tokens, TOKENS)
    yield Line("share common to a group", sent.common_share, COMMON_SHARE, at_least=True)
    yield Line("share that a prefix cache can hold", sent.reusable_share)


def _families(requests: Sequence[Request]) -> list[list[str]]:
    families: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for request in requests:
        families[request.family].append(request.text)
    return list(families.values())


def _common(texts: Sequence[str]) -> int:
    """What all have in common, counted once for each."""
    least, most = min(texts), max(texts)
    return common_prefix(least, most) * len(texts)


def reused(texts: Sequence[Text]) -> Iterator[int]:
    """For each text, how much of its beginning an earlier one has."""
    ranks = sorted(range(len(texts)), key=texts.__getitem__)
    shared = {pair: common_prefix(texts[pair[0]], texts[pair[1]]) for pair in pairwise(ranks)}
    place = {number: rank for rank, number in enumerate(ranks)}
    for number in range(len(texts)):
        yield max(_towards(number, ranks, place[number], shared, step) for step in (-1, 1))


def _towards(
    number: int, ranks: Sequence[int], rank: int, shared: dict[tuple[int, int], int], step: int
) -> int:
    """The prefix shared with the nearest earlier text on one side of the sorted order."""
    prefix: int | None = None
    while 0 <= rank + step < len(ranks):
        pair = (ranks[rank], ranks[rank + step])
        between = shared[pair if step > 0 else pair[::-1]]
        prefix = between if prefix is None else min(prefix, between)
        rank += step
        if ranks[rank] < number:
            return prefix
    return 0


def common_prefix(one: Text, other: Text) -> int:
    """How many characters, or tokens, two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _tokens(requests: Sequence[Request], rollouts: int) -> float | None:
    """Tokens a rollout, from the characters a token of the first group's prompts."""
    first = [each.text for each in requests if each.family[1] == requests[0].family[1]]
    try:
        server = LlamaServer(model_file())
    except SettingsError:
        return None
    try:
        counted = sum(_counted(server, text) for text in first)
    finally:
        server.stop()
    total = sum(len(request.text) for request in requests)
    return counted * total / sum(map(len, first)) / rollouts


def _counted(server: LlamaServer, text: str) -> int:
    url = f"{server.endpoint.base_url.removesuffix('/v1')}/tokenize"
    reply = httpx.post(url, json={"content": text}, timeout=_TOKENIZE_S, trust_env=False)
    return len(reply.raise_for_status().json()["tokens"])
