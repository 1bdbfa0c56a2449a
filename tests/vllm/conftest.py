"""A real vLLM for the session, and the service in front of it."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from citemark_rubrics import load_library
from citemark_service.app import create_app
from citemark_service.judges.factory import build_judge
from citemark_service.serve import server_of
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.web.admission import Admission
from support.otlp_collector import Collector, collecting
from support.running_service import until
from support.vllm_server import MODEL, VllmServer

PATIENCE_S = 240.0
_ROOT = Path(__file__).resolve().parents[2]
_PYTHON = _ROOT / ".venv-vllm" / "bin" / "python"
_MODEL = _ROOT / ".cache" / "smollm2-135m"
_HYBRID = _ROOT / ".cache" / "qwen3-next-tiny"


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """The server, up when the session starts to use it and gone when the session ends."""
    with _up(_MODEL, tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="session")
def hybrid_vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """The same with layers as in Qwen3.5, and the recommended size of a step."""
    extra = ("--load-format", "dummy", "--max-num-batched-tokens", "16384")
    with _up(_HYBRID, tmp_path_factory, *extra, "--prefix-match-unit", "32") as server:
        yield server


@pytest.fixture
def collector() -> Iterator[Collector]:
    """What service and server send their traces to."""
    with collecting() as running:
        yield running


@pytest.fixture
def traced_vllm(
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[VllmServer]:
    """A server that traces."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "500")
    endpoint = f"{collector.url}/v1/traces"
    with _up(_MODEL, tmp_path_factory, "--otlp-traces-endpoint", endpoint) as server:
        yield server


@contextmanager
def _up(model: Path, tmp_path_factory: pytest.TempPathFactory, *extra: str) -> Iterator[VllmServer]:
    if not (_PYTHON.is_file() and model.is_dir()):
        pytest.skip("needs vLLM and a model of its own: make test-vllm")
    server = VllmServer(_PYTHON, model, tmp_path_factory.mktemp("vllm") / "log", extra)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def settings(vllm: VllmServer) -> Settings:
    """For a judge that may take its time but gives up soon where nothing answers."""
    return Settings(
        port=0,
        judge="vllm",
        judge_url=vllm.base_url,
        judge_model=MODEL,
        judge_attempts=2,
        judge_timeout_s=PATIENCE_S,
        judge_deadline_s=PATIENCE_S,
        stop_grace_s=5.0,
    )


@pytest.fixture
def rollouts() -> list[dict[str, Any]]:
    """The example rollouts."""
    lines = (_ROOT / "examples" / "rollouts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def service(settings: Settings) -> Iterator[httpx.Client]:
    """A client of the service, which runs on a real socket with the judge of the settings."""
    with ExitStack() as stack:
        url = stack.enter_context(_serving(settings))
        client = httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False)
        yield stack.enter_context(client)


@contextmanager
def _serving(settings: Settings) -> Iterator[str]:
    admission = Admission(settings)
    app = create_app(
        settings=settings,
        judge=build_judge(settings, Metrics()),
        library=load_library(),
        admission=admission,
    )
    server = server_of(app, settings=settings, admission=admission)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the tests measured."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "vllm":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")
