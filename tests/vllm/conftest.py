"""A real vLLM for the session, and the service in front of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import httpx
import pytest

from citemark_service.settings import Settings
from support.otlp_collector import Collector, collecting
from support.scripted_service import client_of, real_app
from support.vllm_server import HYBRID, MODEL, PATIENCE_S, PYTHON, SMALL, VllmServer, serving_vllm


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the log; skips where `make test-vllm` made nothing."""
    if not (PYTHON.is_file() and SMALL.is_dir() and HYBRID.is_dir()):
        pytest.skip("needs vLLM and models of its own: make test-vllm")
    return tmp_path_factory.mktemp("vllm")


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """What service and server send their traces to."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="session")
def vllm(collector: Collector, folder: Path) -> Iterator[VllmServer]:
    """The server, up when the session starts to use it and gone when the session ends."""
    traces = {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
    }
    # Most CPUs only emulate bfloat16.
    extra = ("--dtype", "float32", "--otlp-traces-endpoint", f"{collector.url}/v1/traces")
    with mock.patch.dict(os.environ, traces), serving_vllm(SMALL, folder, *extra) as server:
        yield server


@pytest.fixture(scope="session")
def hybrid_vllm(folder: Path) -> Iterator[VllmServer]:
    """The same with layers as in Qwen3.5, and the recommended size of a step."""
    extra = ("--load-format", "dummy", "--max-num-batched-tokens", "16384")
    with serving_vllm(HYBRID, folder, *extra, "--prefix-match-unit", "32") as server:
        yield server


@pytest.fixture
def settings(vllm: VllmServer) -> Settings:
    """For a judge that may take its time but gives up soon where nothing answers."""
    return Settings(
        judge="vllm",
        judge_url=vllm.base_url,
        judge_model=MODEL,
        judge_attempts=2,
        judge_timeout_s=PATIENCE_S,
        judge_deadline_s=PATIENCE_S,
        judge_linger_s=0.0,
        verdict_cache="off",
    )


@pytest.fixture
def service(settings: Settings) -> Iterator[httpx.Client]:
    """A client of the service with the judge of the settings."""
    with client_of(real_app(settings), patience_s=PATIENCE_S) as client:
        yield client
