"""A few groups against a real vLLM on the CPU: what its prefix cache finds of what is shared."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from processes import real_vllm, running_service
from prompts import Request, keep, read, reused
from report import Line
from rounds import Round, batch_round
from workload import Workload, training_step

HIT_RATIO = 0.8
_GROUPS = 1
_SNIPPET_CHARACTERS = 500
_MODEL = "judge"
_SECRET = "so that both services fence a group alike"
_PATIENCE_S = 240.0


@dataclass(frozen=True, slots=True)
class Serving:
    """One step, from a cold cache."""

    rollouts: int
    wall_s: float
    prompt_tokens: int
    shareable_tokens: int
    """What prompts have in common with an earlier one, from the first token on."""
    cached_tokens: int
    """What the server found in its cache."""

    @property
    def computed_tokens(self) -> int:
        """What the server had to read."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def hit_ratio(self) -> float:
        """Cached over shareable."""
        return self.cached_tokens / self.shareable_tokens


def measure(step: Workload, stamps: Iterator[int], *, folder: Path) -> Serving:
    """Send a step through the service to a new vLLM.

    Raises:
        NotStarted: vLLM is not installed.
    """
    stamp, file = next(stamps), folder / "vllm-requests"
    with real_vllm() as url:
        # The scripted judge gets the same prompts, byte for byte, and keeps them to be counted.
        keep(step, stamp, file, nonce_secret=_SECRET)
        tokens = [_tokens(url, request) for request in read(file)]
        before = _hits(url)
        sent = _sent(url, step.batch(stamp))
        cached = _hits(url) - before
    return Serving(
        rollouts=sent.rollouts,
        wall_s=sent.wall_s,
        prompt_tokens=sent.judge("prompt_tokens"),
        shareable_tokens=sum(reused(tokens)),
        cached_tokens=cached,
    )


def lines(stamps: Iterator[int], *, folder: Path) -> Iterator[Line]:
    """One group's step on the real server."""
    step = training_step(prompts=_GROUPS, snippet_characters=_SNIPPET_CHARACTERS)
    found = measure(step, stamps, folder=folder)
    tokens = f"{found.cached_tokens} of {found.shareable_tokens} tokens"
    yield Line(
        "prefix hits on vLLM",
        found.hit_ratio,
        HIT_RATIO,
        at_least=True,
        note=tokens,
        key="prefix_hit_ratio",
    )
    note = f"{found.rollouts} rollouts in {found.wall_s:.1f} s"
    yield Line("tokens that vLLM computed", found.computed_tokens, note=note)


def _sent(url: str, body: bytes) -> Round:
    with running_service(
        url,
        judge_model=_MODEL,
        evidence_quotes=False,
        nonce_secret=_SECRET,
        judge_timeout_s=_PATIENCE_S,
        judge_deadline_s=_PATIENCE_S,
    ) as service:
        return batch_round(service, body)


def _hits(url: str) -> int:
    """`vllm:prefix_cache_hits_total`."""
    text = httpx.get(f"{_root(url)}/metrics", trust_env=False).text
    families = text_string_to_metric_families(text)
    samples = (sample for family in families for sample in family.samples)
    return int(sum(s.value for s in samples if s.name == "vllm:prefix_cache_hits_total"))


def _tokens(url: str, request: Request) -> list[int]:
    """The prompt as the model gets it."""
    messages = [{"role": each.role, "content": each.content} for each in request.messages]
    body = {"model": _MODEL, "messages": messages, "add_generation_prompt": True}
    reply = httpx.post(f"{_root(url)}/tokenize", json=body, timeout=_PATIENCE_S, trust_env=False)
    found: list[int] = reply.raise_for_status().json()["tokens"]
    return found


def _root(url: str) -> str:
    return url.removesuffix("/v1")
