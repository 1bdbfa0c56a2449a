"""A real vLLM for the session, and the service in front of it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest

from citemark_service.settings import Settings
from support.otlp_collector import Collector, collecting
from support.scripted_service import listening, real_app
from support.vllm_server import HYBRID, MODEL, PYTHON, SMALL, VllmServer, serving_vllm

PATIENCE_S = 900.0
_EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "rollouts.jsonl"


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
    extra = (
        *("--dtype", "float32"),  # most CPUs only emulate bfloat16
        *("--otlp-traces-endpoint", f"{collector.url}/v1/traces"),
    )
    with (
        mock.patch.dict(os.environ, traces),
        serving_vllm(SMALL, folder, *extra) as server,
    ):
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
def rollouts() -> list[dict[str, Any]]:
    """The example rollouts."""
    return [json.loads(line) for line in _EXAMPLES.read_text().splitlines()]


@pytest.fixture
def service(settings: Settings) -> Iterator[httpx.Client]:
    """A client of the service, which runs on a real socket with the judge of the settings."""
    with (
        listening(real_app(settings)) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client,
    ):
        yield client


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the tests measured."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "vllm":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")
