"""The prefix-cache counters of a vLLM server, read from its `/metrics`."""

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
    """The counters of the server at `judge_url`; None where it exposes none."""
    url = judge_url.rstrip("/").removesuffix("/v1") + "/metrics"
    try:
        # Without proxies of the environment, as the judge's client.
        async with (
            asyncio.timeout(timeout_s),  # for the whole reply; httpx's is for each read
            httpx.AsyncClient(timeout=timeout_s, trust_env=False) as http,
        ):
            response = await http.get(url)
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
        return None
    if response.status_code != httpx.codes.OK or len(response.content) > _MAX_BYTES:
        return None
    return parse_prefix_count(response.text)


def parse_prefix_count(exposition: str) -> PrefixCount | None:
    """The counters in Prometheus text; None where one is missing or the text is invalid."""
    # Parsing all that vLLM exposes would block the event loop for tens of milliseconds.
    lines = "\n".join(line for line in exposition.split("\n") if _PREFIX in line)
    totals = {}
    try:
        for family in text_string_to_metric_families(lines):
            values = [s.value for s in family.samples if s.name.endswith("_total")]
            totals[family.name] = int(sum(values))
        return PrefixCount(totals[f"{_PREFIX}queries"], totals[f"{_PREFIX}hits"])
    except (KeyError, ValueError):
        return None
