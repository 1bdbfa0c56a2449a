"""`python warm_start.py MODEL.gguf FOLDER --steps N --seed N`: show the policy the format.

A few steps of supervised training on `warm_start.jsonl`, so that some samples hold an answer
that a reward can tell from the others. What is right to cite is left to GRPO.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from trl import SFTConfig, SFTTrainer

from citemark_grpo.training.rows import RefinerPrompt

HERE = Path(__file__).parent
EXAMPLES = HERE / "warm_start.jsonl"
PROMPT = HERE / "prompt.j2"
LEARNING_RATE = 2e-5
BATCH = 8


def example(row: dict[str, Any], prompt: RefinerPrompt) -> dict[str, Any]:
    """A row as a conversation: the prompt that GRPO will use, and the answer to imitate."""
    asked = prompt.render(question=row["question"], tool_output=row["tool_output"])
    answer = {"role": "assistant", "content": row["metadata"]["ideal"]}
    return {"prompt": [dict(turn) for turn in asked], "completion": [answer]}


def examples() -> datasets.Dataset:
    """The file's rows."""
    prompt = RefinerPrompt.load(str(PROMPT))
    rows = map(json.loads, EXAMPLES.read_text(encoding="utf-8").splitlines())
    return datasets.Dataset.from_list([example(row, prompt) for row in rows])


def config(folder: Path, *, steps: int, seed: int, bf16: bool) -> SFTConfig:
    """Weights stay in float32: steps this small are lost in bfloat16."""
    return SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        seed=seed,
        bf16=bf16,
        use_cpu=True,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        per_device_train_batch_size=BATCH,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def policy(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in the file, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        attn_implementation="eager",
    )
    return model, AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def main() -> None:
    """Train, and write the policy into the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--bf16", action="store_true", help="calculate in bfloat16")
    given = parser.parse_args()
    model, tokenizer = policy(given.model)
    trainer = SFTTrainer(
        model,
        args=config(given.folder, steps=given.steps, seed=given.seed, bf16=given.bf16),
        train_dataset=examples(),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
