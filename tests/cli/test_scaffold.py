"""`citemark scaffold`: files that a framework can use as they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.command_line import cli

RULES = "A,ARG,ASYNC,B,E,F,I,N,PL,RET,RUF,S,SIM,UP,W"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The folder of the resources server, below a Gym's."""
    cli("scaffold", "nemo-gym", tmp_path, "--url", "http://rm:9000/")
    return tmp_path / "resources_servers" / "citemark"


def test_gym_gets_what_its_launcher_looks_for_in_short_clean_code(written):
    found = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    known = "README.md app.py configs/citemark.yaml data/example.jsonl requirements.txt"
    assert found == set(known.split())
    assert len((written / "app.py").read_text().splitlines()) <= 50
    check = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "100"]
    run = [*check, "--select", RULES, str(written)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_config_names_the_service_and_the_files_beside_it(written):
    config = YAML(typ="safe").load((written / "configs" / "citemark.yaml").read_text())
    server = config["citemark"]["resources_servers"]["citemark"]
    assert server["url"] == '${oc.env:CITEMARK_URL,"http://rm:9000"}'
    assert (written / server["entrypoint"]).is_file()
    agent = config["citemark_simple_agent"]["responses_api_agents"]["simple_agent"]
    assert agent["resources_server"] == {"type": "resources_servers", "name": "citemark"}
    for dataset in agent["datasets"]:
        assert (written.parents[1] / dataset["jsonl_fpath"]).is_file()
    (line,) = (written / "data" / "example.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["responses_create_params"]["input"][0]["role"] == "user"
    assert row["positive_rubrics"]
    assert "response" not in row


def test_what_was_edited_is_not_overwritten_unasked(written):
    app, readme = written / "app.py", written / "README.md"
    again = ["scaffold", "nemo-gym", written.parents[1], "--url", "http://rm:9000"]
    assert "0 files written" in cli(*again).output
    app.write_text("edited")
    readme.unlink()
    cli(*again, status=2, says="app.py")
    assert not readme.exists()
    cli(*again, "--force")
    assert app.read_text() != "edited"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "resources_servers").write_text("a file")
    cli("scaffold", "nemo-gym", tmp_path, status=2, says="cannot write")
