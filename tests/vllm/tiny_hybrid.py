"""`python tiny_hybrid.py MODEL FOLDER`: layers as in Qwen3.5, untrained, with MODEL's tokenizer.

Three recurrent layers (gated delta net) to one of attention. Without weights: vLLM draws them.
Qwen3-Next and not Qwen3.5, whose code in vLLM cannot be imported without a vision library.
"""

import sys
from pathlib import Path

from transformers import AutoTokenizer, Qwen3NextConfig


def make(tokenizer: Path, target: Path) -> None:
    """Write configuration and tokenizer."""
    known = AutoTokenizer.from_pretrained(tokenizer)
    config = Qwen3NextConfig(
        architectures=["Qwen3NextForCausalLM"],
        vocab_size=len(known),
        bos_token_id=known.bos_token_id,
        eos_token_id=known.eos_token_id,
        pad_token_id=known.pad_token_id,
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
    make(*map(Path, sys.argv[1:]))
