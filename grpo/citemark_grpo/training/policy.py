"""Checks of the policy, in a folder or on the hub, before it is loaded."""

import json
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from citemark_grpo.training.errors import Declined, RowsUnusable
from citemark_grpo.training.plan import PolicySource

# A model in one file, or the list of its shards; in the order in which transformers looks.
_WEIGHTS: Final = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
# One of these is in every folder that a tokenizer was saved in.
_TOKENIZERS: Final = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt",
)  # fmt: skip


def check_model(policy: PolicySource) -> None:
    """Check that there is a model to load, without reading weights; on the hub, its config only.

    Raises `Declined` where there is no usable configuration, or the folder lacks weights.
    """
    try:
        config = AutoConfig.from_pretrained(policy.path, revision=policy.revision)
    except (OSError, ValueError) as error:
        raise _reject(policy, "config.json", error) from error
    if not config.architectures:
        raise _decline(f"the config.json of {policy.path} names no architecture")
    folder = Path(policy.path)
    if folder.is_dir() and (missing := list_missing_weights(folder)):
        raise _decline(f"the folder {folder} lacks weights: {', '.join(missing)}")


def list_missing_weights(folder: Path) -> list[str]:
    """The files of a model's weights that are missing or torn."""
    expected = [_WEIGHTS[0][0]]
    try:
        for single, index in _WEIGHTS:
            if (folder / single).is_file():
                expected = [single]
                break
            if (folder / index).is_file():
                shards = json.loads((folder / index).read_bytes())["weight_map"]
                expected = sorted(set(shards.values()))
                break
        return [name for name in expected if not _is_whole(folder / name)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"the index of its shards, which cannot be read ({error})"]


def _is_whole(file: Path) -> bool:
    # A file that a full disk cut short keeps its name; a safetensors header has the length.
    if not file.is_file() or file.suffix != ".safetensors":
        return file.is_file()
    try:
        with safe_open(file, framework="pt"):
            return True
    except SafetensorError:
        return False


def load_tokenizer(policy: PolicySource) -> PreTrainedTokenizerBase:
    """The policy's tokenizer, padding on the left as generation needs it.

    Raises `Declined` where there is none, and `RowsUnusable` where it has no chat template.
    """
    folder = Path(policy.path)
    if folder.is_dir() and not any((folder / name).is_file() for name in _TOKENIZERS):
        raise _decline(f"the folder {folder} lacks a tokenizer: {_TOKENIZERS[0]}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            policy.path, revision=policy.revision, padding_side="left", truncation_side="left"
        )
    except (OSError, ValueError) as error:
        raise _reject(policy, "tokenizer", error) from error
    if tokenizer.chat_template is None:
        raise RowsUnusable(f"the tokenizer of {policy.path} has no chat template")
    return tokenizer


def _reject(policy: PolicySource, part: str, error: Exception) -> Declined:
    if Path(policy.path).is_dir():
        return _decline(f"the folder {policy.path} has no {part} that can be read: {error}")
    return _decline(f"{policy.path} is no folder or hub id with a {part}: {error}")


def _decline(reason: str) -> Declined:
    return Declined({"model_name_or_path": reason})
