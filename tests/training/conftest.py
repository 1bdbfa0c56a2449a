"""Rows to train on, flags, and a policy so small that a step takes a second."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.command_line import WriteRows
from support.scripted_service import Service

TEMPLATE = (
    "{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
Flags = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session", autouse=True)
def without_vllm() -> Iterator[None]:
    """TRL asks whether vLLM can be found; the folder tests/vllm, which is on the path, cannot pass.

    None is how Python itself marks a module that must not be found.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "vllm", None)
        yield


@pytest.fixture
def rows_file(rows: WriteRows) -> Path:
    """Eight rows in the shape of the published data set."""
    return rows(
        {
            "id": f"tide-{n}",
            "question": f"How high is the spring tide at quay {n}?",
            "reasoning": "The harbour's tables should say.",
            "tool_output": f"<snippet id=T{n}>Quay {n}: 4.{n} m.</snippet>",
            "positive_rubrics": json.dumps([{"description": "Names the height."}]),
        }
        for n in range(8)
    )


@pytest.fixture
def flags(rows_file: Path, policy: Path, service: Service, tmp_path: Path) -> Flags:
    """Those of a run in `output` of six steps of two prompts, which take a second each."""
    template = tmp_path / "short.j2"
    template.write_text("{{ question }}")

    def build(output: Path = tmp_path / "run", **given: Any) -> dict[str, Any]:
        small = {
            "model_name_or_path": str(policy),
            "dataset": str(rows_file),
            "prompt_template": str(template),
            "reward_url": service.url,
            "output_dir": str(output),
            "num_unique_prompts_rollout": 2,
            "num_samples_per_prompt_rollout": 4,
            "per_device_train_batch_size": 4,
            "max_prompt_token_length": 1000,
            "response_length": 8,
            "learning_rate": 1e-3,
            "max_steps": 6,
            "save_steps": 2,
            "samples_every": 3,
        }
        return {**small, **given}

    return build


def make_policy(folder: Path, hidden: int = 64) -> Path:
    """An untrained model of two layers with a tokenizer of its own; it writes bytes at random."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

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
        vocab_size=len(fast), hidden_size=hidden, intermediate_size=2 * hidden,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=4096, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_policy(tmp_path_factory.mktemp("policy"))
