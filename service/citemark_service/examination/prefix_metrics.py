"""How much of its prompts a vLLM server has found in its prefix cache, read from `/metrics`."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

_PREFIX: Final = "vllm:prefix_cache_"
_FAMILIES: Final = (f"{_PREFIX}queries", f"{_PREFIX}hits")
_MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PrefixCount:
    """Prompt tokens since the server started, over all its engines."""

    queried: int
    hit: int

    def since(self, before: "PrefixCount") -> "PrefixCount":
        """What was counted in between."""
        return PrefixCount(self.queried - before.queried, self.hit - before.hit)


class PrefixMetrics:
    """Reads the counters of the server behind `judge_url`, whose path usually ends in `/v1`."""

    def __init__(self, judge_url: str, *, timeout_s: float = 5.0) -> None:
        self._url = judge_url.rstrip("/").removesuffix("/v1") + "/metrics"
        self._timeout_s = timeout_s

    async def read(self) -> PrefixCount | None:
        """The counters now; None where the server is another kind, or shows none."""
        try:
            # As the judge client does: the configured server and nothing in between.
            async with (
                asyncio.timeout(self._timeout_s),  # of the whole reply; httpx's is of each read
                httpx.AsyncClient(timeout=self._timeout_s, trust_env=False) as http,
            ):
                response = await http.get(self._url)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
            return None
        if response.status_code != httpx.codes.OK or len(response.content) > _MAX_BYTES:
            return None
        return parse_prefix_count(response.text)


def parse_prefix_count(exposition: str) -> PrefixCount | None:
    """The counters in Prometheus text; None where one is missing or the text is no such text."""
    # All that vLLM tells takes the parser tens of milliseconds, in the loop of a service.
    told = "\n".join(line for line in exposition.split("\n") if _PREFIX in line)
    try:
        families = {family.name: family for family in text_string_to_metric_families(told)}
    except ValueError:
        return None
    if any(name not in families for name in _FAMILIES):
        return None
    queried, hit = (_total(families[name]) for name in _FAMILIES)
    return PrefixCount(queried, hit)


def _total(family: Metric) -> int:
    samples: Iterable[float] = (s.value for s in family.samples if s.name.endswith("_total"))
    return int(sum(samples))
