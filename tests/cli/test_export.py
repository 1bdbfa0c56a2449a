"""`citemark export`: everything that is kept, as rows that others can read."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from citemark_schemas import SIGNALS, Knobs, Rollout, ScoreResult
from citemark_service.ledger.database import open_engine
from citemark_service.ledger.tables import rollouts
from citemark_service.rescoring.compare import Change, rescore
from citemark_service.score.rollout import rollout_hash
from support.command_line import cli
from support.examples import EXAMPLE_ROWS, keep_examples
from support.ledger_service import kept_service, page, score


def change_rollouts(address: str, **values: Any) -> None:
    engine = open_engine(address)
    with engine.begin() as connection:
        connection.execute(update(rollouts).values(**values))
    engine.dispose()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The 16 examples, each a step of the run `demo`, on the hours of a day in 2026."""
    address = f"sqlite:///{tmp_path_factory.mktemp('kept') / 'ledger.db'}"
    keep_examples(address, step=lambda place: place)
    change_rollouts(address, at=1_767_225_600.0 + 3600 * rollouts.c.step)
    return address


def exported(ledger: str, path: Path, *flags: str) -> list[dict[str, Any]]:
    cli("export", path, "--ledger", ledger, *flags)
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_every_row_is_flat_and_whole_to_be_rescored_and_explained(ledger, tmp_path):
    rows = exported(ledger, tmp_path / "all.jsonl")
    assert [row["id"] for row in rows] == [row["id"] for row in EXAMPLE_ROWS]
    assert [row["step"] for row in rows] == list(range(16))
    assert rows[1]["at"] == "2026-01-01T01:00:00+00:00"
    for row, sent in zip(rows, EXAMPLE_ROWS, strict=True):
        assert row.keys() >= {*SIGNALS, "run", "group", "model", "latency_s", "scoring_version"}
        assert row["rollout"]["response"] == sent["response"]
        result = ScoreResult.model_validate(row["result"])
        assert (row["reward"], row["rubric_reward"]) == (result.reward, result.rubric_reward)
        assert (row["citation_f1"] is None) == (result.citation is None)
        assert rescore(Rollout(**row["rollout"]), result, Change(Knobs(), {})) == result
    shown = cli("explain", tmp_path / "all.jsonl", "--id", "cycle-lane-mediocre").stdout
    assert "[1✓] <snippet id=S_h1>Injury crashes on Harrow Street" in shown


def test_both_files_say_the_same(ledger, tmp_path):
    lines = exported(ledger, tmp_path / "all.jsonl")
    table = exported(ledger, tmp_path / "all.parquet")
    for row in table:
        row["rollout"], row["result"] = json.loads(row["rollout"]), json.loads(row["result"])
    assert table == lines


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (["--run", "demo", "--step", "3"], [3]),
        (["--since", "2026-01-01T13:00", "--until", "2026-01-01T16:00+01:00"], [13, 14]),
        (["--since", "2026-01-01T15:00:00Z"], [15]),
    ],
)
def test_a_part_can_be_chosen(ledger, tmp_path, flags, steps):
    rows = exported(ledger, tmp_path / "some.jsonl", *flags)
    assert [row["step"] for row in rows] == steps


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["out.jsonl", "--run", "unknown"], "the ledger's runs: demo"),
        (["out.csv"], "must end in"),
        (["out.jsonl", "--since", "yesterday"], "is no date or time"),
        (["no/such/out.jsonl"], "cannot write"),
        (["out.jsonl", "--ledger", "sqlite:///none.db"], "there is no file"),
    ],
)
def test_mistakes_are_named_and_leave_no_file(ledger, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    cli("export", *arguments, status=2, says=says, env={"CITEMARK_LEDGER": ledger})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_the_old_file(ledger, tmp_path):
    path, copy = tmp_path / "all.jsonl", tmp_path / "damaged.db"
    exported(ledger, path)
    old = path.read_bytes()
    shutil.copy(ledger.removeprefix("sqlite:///"), copy)
    change_rollouts(f"sqlite:///{copy}", detail=b"no zlib")
    cli("export", path, "--ledger", f"sqlite:///{copy}", status=2, says="cannot be read")
    assert path.read_bytes() == old
    assert not list(tmp_path.glob(".*.part"))


def test_a_conversation_is_kept_shown_and_explained(tmp_path):
    said = [("user", "My son has a fever of 40 °C."), ("assistant", "How old is he?")]
    chat = [{"role": role, "content": text} for role, text in [*said, ("user", "Three. What now?")]]
    answer = "<answer><snippet id=1>Fluids help.</snippet></answer>"
    row = {
        "messages": [*chat, {"role": "assistant", "content": answer}],
        "documents": [{"title": "Fevers", "text": "Fluids help.", "url": "https://a.example"}],
    }
    with kept_service(tmp_path) as client:
        (result,) = score(client, [row])
        shown = page(client, "rollout?n=1").text
    assert all(text in shown for _, text in said)
    (kept,) = exported(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "one.jsonl")
    rollout = Rollout.model_validate(kept["rollout"])
    assert rollout_hash(rollout) == result["rollout_hash"]
    assert [(turn.role, turn.content) for turn in rollout.conversation or ()] == said
    explained = cli("explain", tmp_path / "one.jsonl").stdout
    assert explained.index("fever of 40") < explained.index("What now?") < explained.index("Fluids")
