"""A policy that lacks a part is named before anything is loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from citemark_grpo.training.errors import Declined, RowsUnusable
from citemark_grpo.training.plan import PolicySource

pytestmark = pytest.mark.train

Damage = Callable[[Path], object]


@pytest.fixture
def folder(policy, tmp_path):
    """A copy of the policy, to be damaged."""
    return Path(shutil.copytree(policy, tmp_path / "copy"))


def checked(folder):
    from citemark_grpo.training.policy import check_model, load_tokenizer

    policy = PolicySource(str(folder), "float32", "sdpa", "apache-2.0")
    check_model(policy)
    load_tokenizer(policy)


def without(pattern: str) -> Damage:
    return lambda folder: list(map(Path.unlink, folder.glob(pattern)))


def cut(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def without_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": None}))


INDEX = "model.safetensors.index.json"


def shard(folder: Path) -> None:
    names = ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]
    for name in names:
        shutil.copy(folder / "model.safetensors", folder / name)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {str(number): name for number, name in enumerate(names * 2)}}
    (folder / INDEX).write_text(json.dumps(index))


def test_a_whole_policy_passes(folder):
    checked(folder)
    shard(folder)
    checked(folder)


@pytest.mark.parametrize(
    ("damages", "missing"),
    [
        ([without("model.safetensors")], "lacks weights: model.safetensors$"),
        ([cut("model.safetensors")], "lacks weights: model.safetensors$"),
        ([shard, without("model-2*")], "lacks weights: model-2-of-2.safetensors$"),
        ([shard, cut(INDEX)], "lacks weights: the index of its shards, which cannot be read"),
        ([without("tokenizer*")], "lacks a tokenizer: tokenizer.json$"),
        ([cut("tokenizer.json")], "has no tokenizer that can be read"),
        ([without("config.json")], "has no config.json that can be read"),
        ([cut("config.json")], "has no config.json that can be read"),
        ([without_architecture], "names no architecture"),
        ([shutil.rmtree], "copy is no folder or hub id"),
    ],
)
def test_what_is_missing_is_named_with_the_folder(folder, damages, missing):
    for damage in damages:
        damage(folder)
    with pytest.raises(Declined, match=missing) as declined:
        checked(folder)
    assert set(declined.value.reasons) == {"model_name_or_path"}
    assert str(folder) in str(declined.value)


def test_a_tokenizer_without_a_chat_template_cannot_write_prompts(folder):
    without("chat_template*")(folder)
    with pytest.raises(RowsUnusable, match="has no chat template"):
        checked(folder)
