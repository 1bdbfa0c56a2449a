"""`citemark-grpo train` with a tiny policy: six steps, a checkpoint every second one."""

import os
import subprocess
import sys
from pathlib import Path

STEPS = 6
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}


def command(output: Path, *, url: str, policy: Path, rows: Path, resume: str = "auto") -> list[str]:
    template = output.with_name("short.j2")
    template.write_text("{{ question }}")
    return [
        sys.executable, "-m", "citemark_grpo", "train", "--model_name_or_path", str(policy),
        "--dataset", str(rows), "--prompt_template", str(template), "--reward_url", url,
        "--output_dir", str(output), "--num_unique_prompts_rollout", "2",
        "--num_samples_per_prompt_rollout", "4", "--per_device_train_batch_size", "4",
        "--max_prompt_token_length", "1000", "--response_length", "8",
        "--max_steps", str(STEPS), "--save_steps", "2", "--samples_every", "3",
        "--learning_rate", "1e-3", "--resume", resume,
    ]  # fmt: skip


def called(*given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        given, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False
    )
