"""Reading vLLM's count of cached prompt tokens, and anything else that answers there."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.examination.prefix_metrics import (
    PrefixCount,
    PrefixMetrics,
    parse_prefix_count,
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

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


async def test_the_counters_of_all_engines_are_added_up():
    with answering(200, EXPOSITION.encode()) as url:
        assert await PrefixMetrics(url).read() == PrefixCount(queried=1234, hit=800)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, EXPOSITION.encode()), (200, b"<html>"), (200, b"up 1\n"), (200, b"")],
)
async def test_another_server_has_no_count(status, body):
    with answering(status, body) as url:
        assert await PrefixMetrics(url).read() is None


async def test_nothing_there_is_no_count_either():
    with answering(200, b"") as url:
        pass
    assert await PrefixMetrics(url, timeout_s=2.0).read() is None


def test_a_difference_is_by_field():
    assert PrefixCount(10, 7).since(PrefixCount(4, 2)) == PrefixCount(6, 5)


@given(st.text(alphabet='vlm:_{}",=#\n 1eNaInf\\') | st.text())
def test_no_text_is_too_odd(text):
    assert parse_prefix_count(text) is None


@given(st.text(alphabet='vlm:_{}",=#\n 1eNaInf\\'))
def test_an_odd_line_among_the_counters_does_no_harm(text):
    found = parse_prefix_count(EXPOSITION + text)
    assert found is None or found.hit >= 800 or "hits" in text
