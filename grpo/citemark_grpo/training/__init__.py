"""GRPO training of a research refiner against Citemark, on TRL's trainer. Extra: `train`.

flags, further, plan        flags and what each becomes; need no torch
policy, rows                checks of the model before it is loaded; rows into prompts
config, dry_run             TRL's configuration; the plan as text
reward                      Citemark as TRL's reward function
disk, checkpoints, keeper   full disks; complete checkpoints
journal, watch, pages       records of each step; metrics; sample pages and model card
trainer, session, cli       TRL's trainer with all this; a run; the command `citemark-grpo`
"""
