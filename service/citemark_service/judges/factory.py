"""From settings to the judge that they name, through the table in `settings`."""

from importlib import import_module

from opentelemetry.trace import NoOpTracer, Tracer

from citemark_service.judges.tasks import Judge
from citemark_service.settings import JUDGES, Settings
from citemark_service.telemetry.metrics import Metrics


def build_judge(settings: Settings, metrics: Metrics, tracer: Tracer = NoOpTracer()) -> Judge:
    """Build the judge; the caller closes it. `smollm2` loads its model here, in seconds.

    Raises:
        SettingsError: the judge lacks something that it cannot start without.
    """
    # By name, so that a process loads the libraries of its own judge only.
    module, _, name = JUDGES[settings.judge].build.partition(":")
    judge: Judge = getattr(import_module(module), name)(settings, metrics=metrics, tracer=tracer)
    return judge
