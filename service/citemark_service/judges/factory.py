"""Building the judge that the settings name, from the table `settings.JUDGES`."""

from importlib import import_module

from opentelemetry.trace import NoOpTracer, Tracer

from citemark_service.errors import SettingsError
from citemark_service.judges.tasks import Judge
from citemark_service.settings import JUDGES, Settings
from citemark_service.telemetry.metrics import Metrics


def build_judge(settings: Settings, metrics: Metrics, tracer: Tracer = NoOpTracer()) -> Judge:
    """Build the judge, which the caller closes; `smollm2` takes seconds to load its model.

    Raises `SettingsError` where a setting or a package is missing, or two settings conflict.
    """
    if settings.judge_asks == "read":
        if settings.judge != "vllm":
            raise SettingsError(f"judge_asks=read needs judge=vllm; {settings.judge} only writes")
        if settings.evidence_quotes and "evidence_quotes" in settings.model_fields_set:
            raise SettingsError("judge_asks=read quotes nothing: leave evidence_quotes out")
    # Imported by name: a process loads the libraries of its own judge only.
    module, _, name = JUDGES[settings.judge].build.partition(":")
    judge: Judge = getattr(import_module(module), name)(settings, metrics=metrics, tracer=tracer)
    return judge
