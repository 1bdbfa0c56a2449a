"""`python make_model.py smollm2|hybrid SOURCE FOLDER`, in an environment that has transformers."""

import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
)


def convert(source: Path, target: Path) -> None:
    """Write the GGUF model `source` in Hugging Face's layout, its first eight layers as a Qwen3.

    What vLLM is asked for here does not depend on how clever a model is, and all thirty take
    minutes for a group's prompts on two cores. vLLM reads no verdicts of a Llama, from which a
    Qwen3 differs in two norms of each layer, which are left at 1.
    """
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,  # most CPUs only emulate bfloat16
    )
    model.model.layers = model.model.layers[:8]
    known = model.config.to_dict() | {"num_hidden_layers": 8}
    names = ("model_type", "architectures", "layer_types")
    config = Qwen3Config(**{name: known[name] for name in known if name not in names})
    read = Qwen3ForCausalLM(config)
    read.load_state_dict(model.state_dict(), strict=False)
    read.save_pretrained(target)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)


def make_hybrid(source: Path, target: Path) -> None:
    """Layers as in Qwen3.5 with the tokenizer of `source`; without weights, which vLLM draws.

    Three recurrent layers (gated delta net) to one of attention. Qwen3-Next and not Qwen3.5, whose
    code in vLLM cannot be imported without a vision library.
    """
    known = AutoTokenizer.from_pretrained(source)
    config = Qwen3NextConfig(
        architectures=["Qwen3NextForCausalLM"],
        vocab_size=len(known),
        **{name: getattr(known, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        num_hidden_layers=4,
        hidden_size=256,
        intermediate_size=512,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        linear_num_key_heads=4,
        linear_num_value_heads=4,
        linear_key_head_dim=64,
        linear_value_head_dim=64,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=128,
        shared_expert_intermediate_size=128,
    )
    config.save_pretrained(target)
    known.save_pretrained(target)


if __name__ == "__main__":
    layout, *paths = sys.argv[1:]
    {"smollm2": convert, "hybrid": make_hybrid}[layout](*map(Path, paths))
