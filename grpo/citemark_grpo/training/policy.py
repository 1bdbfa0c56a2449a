"""The policy as it stands in a folder or on the hub, looked at before a run is built on it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from citemark_grpo.training.errors import Declined, RowsUnusable
from citemark_grpo.training.plan import Policy

# A model in one file, or the list of its shards; in the order in which transformers looks.
_WEIGHTS: Final = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
# One of these is in every folder that a tokenizer was saved in.
_TOKENIZERS: Final = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
)


def check_model(policy: Policy) -> None:
    """That there is a model to load; no weight is read, and on the hub none is asked for.

    Raises:
        Declined: there is no such policy, it has no configuration that can be used, or its folder
            lacks weights; the folder and what is missing are named.
    """
    if not _config(policy).architectures:
        raise _declined(f"the config.json of {policy.path} names no architecture")
    folder = Path(policy.path)
    if folder.is_dir() and (missing := missing_weights(folder)):
        raise _declined(f"the folder {folder} lacks weights: {', '.join(missing)}")


def _config(policy: Policy) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(policy.path, revision=policy.revision)
    except (OSError, ValueError) as error:
        raise _unread(policy, "config.json", error) from error


def missing_weights(folder: Path) -> list[str]:
    """The files of a model's weights that are not there, or not whole; none where all are."""
    try:
        return [name for name in _expected(folder) if not _whole(folder / name)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"the index of its shards, which cannot be read ({error})"]


def _expected(folder: Path) -> Iterator[str]:
    for single, index in _WEIGHTS:
        if (folder / single).is_file():
            yield single
            return
        if (folder / index).is_file():
            shards = json.loads((folder / index).read_bytes())["weight_map"]
            yield from sorted(set(shards.values()))
            return
    yield _WEIGHTS[0][0]


def _whole(file: Path) -> bool:
    """What a full disk cut short is still there under its name; its header says how long it is."""
    if not file.is_file() or file.suffix != ".safetensors":
        return file.is_file()
    try:
        with safe_open(file, framework="pt"):
            return True
    except SafetensorError:
        return False


def load_tokenizer(policy: Policy) -> PreTrainedTokenizerBase:
    """The policy's tokenizer, padding as the trainer needs it.

    Raises:
        Declined: there is no such policy, or it has no tokenizer.
        RowsUnusable: it has no chat template, so that no prompt can be written.
    """
    folder = Path(policy.path)
    if folder.is_dir() and not any((folder / name).is_file() for name in _TOKENIZERS):
        raise _declined(f"the folder {folder} lacks a tokenizer: {_TOKENIZERS[0]}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            policy.path, revision=policy.revision, padding_side="left", truncation_side="left"
        )
    except (OSError, ValueError) as error:
        raise _unread(policy, "tokenizer", error) from error
    if tokenizer.chat_template is None:
        raise RowsUnusable(f"the tokenizer of {policy.path} has no chat template")
    return tokenizer


def _unread(policy: Policy, part: str, error: Exception) -> Declined:
    if Path(policy.path).is_dir():
        return _declined(f"the folder {policy.path} has no {part} that can be read: {error}")
    return _declined(f"{policy.path} is no folder or hub id with a {part}: {error}")


def _declined(reason: str) -> Declined:
    return Declined({"model_name_or_path": reason})
