"""How much of its prompts a vLLM server has found in its prefix cache, read from `/metrics`."""

import asyncio
from typing import Final, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

_PREFIX: Final = "vllm:prefix_cache_"
_MAX_BYTES: Final = 4 * 1024 * 1024


class PrefixCount(NamedTuple):
    """Prompt tokens since the server started, over all its engines."""

    queried: int
    hit: int


async def read_prefix_count(judge_url: str, *, timeout_s: float = 5.0) -> PrefixCount | None:
    """The counters of the server behind `judge_url`, whose path usually ends in `/v1`.

    None where the server is another kind, or shows none.
    """
    url = judge_url.rstrip("/").removesuffix("/v1") + "/metrics"
    try:
        # As the judge client does: the configured server and nothing in between.
        async with (
            asyncio.timeout(timeout_s),  # of the whole reply; httpx's is of each read
            httpx.AsyncClient(timeout=timeout_s, trust_env=False) as http,
        ):
            response = await http.get(url)
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
        return None
    if response.status_code != httpx.codes.OK or len(response.content) > _MAX_BYTES:
        return None
    return parse_prefix_count(response.text)


def parse_prefix_count(exposition: str) -> PrefixCount | None:
    """The counters in Prometheus text; None where one is missing or the text is no such text."""
    # To parse all that vLLM exposes takes tens of milliseconds, in the loop of a service.
    lines = "\n".join(line for line in exposition.split("\n") if _PREFIX in line)
    totals = {}
    try:
        for family in text_string_to_metric_families(lines):
            values = [s.value for s in family.samples if s.name.endswith("_total")]
            totals[family.name] = int(sum(values))
        return PrefixCount(totals[f"{_PREFIX}queries"], totals[f"{_PREFIX}hits"])
    except (KeyError, ValueError):
        return None
