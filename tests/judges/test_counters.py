"""Reading vLLM's count of cached prompt tokens, and anything else that answers there."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.examination.probe import (
    PrefixCount,
    parse_prefix_count,
    read_prefix_count,
)

EXPOSITION = """\
# HELP vllm:prefix_cache_queries_total Prefix cache queries.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="judge"} 1.2e+03
vllm:prefix_cache_queries_total{engine="1",model_name="judge"} 34.0
# TYPE vllm:prefix_cache_queries_created gauge
vllm:prefix_cache_queries_created{engine="0",model_name="judge"} 1.79e+09
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="judge"} 800.0
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="judge"} 0.0
"""


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A judge URL whose server answers this at `/metrics`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "count"),
    [
        (200, EXPOSITION.encode(), PrefixCount(queried=1234, hit=800)),
        (404, EXPOSITION.encode(), None),
        (200, b"<html>", None),
        (200, b"up 1\n", None),
        (200, b"", None),
    ],
)
async def test_the_counters_of_all_engines_are_added_up(status, body, count):
    with answering(status, body) as url:
        assert await read_prefix_count(url) == count
    assert await read_prefix_count(url, timeout_s=2.0) is None  # nothing is there any more


@given(st.text(alphabet='vlm:_{}",=#\n 1eNaInf\\') | st.text())
def test_no_text_is_too_odd(text):
    assert parse_prefix_count(text) is None
    found = parse_prefix_count(EXPOSITION + text)
    assert found is None or found.hit >= 800 or "hits" in text
