"""`python convert_model.py MODEL.gguf FOLDER`, in an environment that has transformers.

Only the first layers are kept: what vLLM is asked for here does not depend on how clever a model
is, and all thirty take minutes for a group's prompts on two cores.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

_LAYERS = 8


def convert(source: Path, target: Path) -> None:
    """Write weights, configuration and tokenizer in Hugging Face's layout."""
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,  # most CPUs only emulate bfloat16
    )
    model.model.layers = model.model.layers[:_LAYERS]
    model.config.num_hidden_layers = _LAYERS
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    convert(*map(Path, sys.argv[1:]))
