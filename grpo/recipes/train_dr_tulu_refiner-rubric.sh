#!/usr/bin/env bash
# The published run: a Qwen3-4B research refiner after SFT, GRPO on rubrics and citations.
#
#   MODEL=…    the refiner after SFT: a folder or a hub id
#   DATASET=…  its rows: JSONL, Parquet or a data set on the hub
#   bash grpo/recipes/train_dr_tulu_refiner-rubric.sh --dry_run
#   bash grpo/recipes/train_dr_tulu_refiner-rubric.sh
#
# Citemark must be running at CITEMARK_URL, with its judge (Qwen/Qwen3.5-35B-A3B on vLLM) behind it:
# this starts neither. Further flags are passed on, as --use_vllm --vllm_mode colocate.
# PROCESSES is the number of GPUs, OUTPUT_DIR takes checkpoints and logs.
set -euo pipefail

: "${MODEL:?set MODEL to the refiner after SFT}"
: "${DATASET:?set DATASET to its rows}"
CITEMARK_URL=${CITEMARK_URL:-http://127.0.0.1:8000}
OUTPUT_DIR=${OUTPUT_DIR:-runs/dr-tulu-refiner-rubric}
PROCESSES=${PROCESSES:-8}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
launcher=(accelerate launch --config_file "$here/zero3.yaml"
  --deepspeed_config_file "$here/zero3.json" --num_processes "$PROCESSES" --module)
case " $* " in
*" --dry_run "*) launcher=(python -m) ;; # plans for PROCESSES, and needs none of them
*)
  for package in citemark_grpo deepspeed; do
    if ! python -c "import importlib.util as i, sys; sys.exit(i.find_spec('$package') is None)"; then
      echo "this python has no $package: pip install 'citemark[train,train-gpu]'" >&2
      exit 2
    fi
  done
  ;;
esac

"${launcher[@]}" citemark_grpo train \
  --model_name_or_path "$MODEL" \
  --dataset "$DATASET" \
  --output_dir "$OUTPUT_DIR" \
  --reward_url "$CITEMARK_URL" \
  --world_size "$PROCESSES" \
  --dtype bfloat16 \
  --attn_implementation flash_attention_2 \
  --gradient_checkpointing true \
  --verification_reward 10.0 \
  --non_stop_penalty false \
  --refiner_reward_gate_judge_score_with_format_bonus false \
  --refiner_reward_apply_paper_citation_reward true \
  --refiner_reward_paper_citation_weight 0.2 \
  --refiner_reward_instance_rubrics_only false \
  --kl_estimator kl3 \
  --beta 0.001 \
  --num_unique_prompts_rollout 32 \
  --num_samples_per_prompt_rollout 8 \
  --learning_rate 5e-6 \
  --lr_scheduler_type constant \
  --max_prompt_token_length 6144 \
  --response_length 1024 \
  --max_token_length 8192 \
  --pack_length 8192 \
  --temperature 1.0 \
  --seed 42 \
  --deepspeed_stage 3 \
  --per_device_train_batch_size 1 \
  "$@"
