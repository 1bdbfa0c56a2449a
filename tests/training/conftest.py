"""Rows to train on, plans, and a policy so small that a step takes a second."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from citemark_grpo.training.plan import Plan, plan_run

TEMPLATE = (
    "{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
Planned = Callable[..., Plan]
"""`planned(beta=0.1)`: the plan of a run with that flag, and small rows."""


def raw_row(number: int = 0, **more: Any) -> dict[str, Any]:
    """One row in the shape of the published data set."""
    return {
        "id": f"tide-{number}",
        "question": f"How high is the spring tide at quay {number}?",
        "reasoning": "The harbour's tables should say.",
        "tool_output": f"<snippet id=T{number}>Quay {number}: spring tide 4.{number} m.</snippet>",
        "positive_rubrics": json.dumps([{"description": "Names the height."}]),
        **more,
    }


@pytest.fixture(scope="session", autouse=True)
def without_vllm() -> Iterator[None]:
    """TRL asks whether vLLM can be found; the folder tests/vllm, which is on the path, cannot pass.

    None is how Python itself marks a module that must not be found.
    """
    modules = cast(dict[str, Any], sys.modules)
    kept = modules.get("vllm")
    modules["vllm"] = None
    yield
    del modules["vllm"]
    if kept is not None:
        modules["vllm"] = kept


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """Eight rows as JSON lines."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(raw_row(number)) + "\n" for number in range(8)))
    return path


@pytest.fixture
def planned(rows_file: Path, tmp_path: Path) -> Planned:
    """Plans whose required flags are set."""

    def build(**given: Any) -> Plan:
        required = {"model_name_or_path": "policy", "dataset": str(rows_file)}
        return plan_run({**required, "output_dir": str(tmp_path / "run"), **given})

    return build


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained policy of two layers with a tokenizer of its own; it writes bytes at random."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("policy")
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>"
    )
    fast.add_special_tokens({"additional_special_tokens": special[2:]})
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
