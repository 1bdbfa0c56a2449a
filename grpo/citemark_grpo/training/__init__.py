"""GRPO training of a research refiner against Citemark, on TRL's trainer. Extra: `train`.

    flags, further, plan        every flag in one table: type, default, effect, what it becomes
    policy, rows                the model looked at before it is loaded; rows into prompts
    config, dry_run             TRL's configuration, what this machine lacks, the plan on paper
    reward                      Citemark as TRL's reward; waits for a service that is away
    disk, checkpoints, keeper   full disks; checkpoints that are complete or not there at all
    journal, watch, pages       a line a step and its picture; metrics; samples and model card
    trainer, session, cli       TRL's trainer with all this; a run; the command `citemark-grpo`

Nothing heavy is imported before it is used: the plan and its flags need no torch.
"""
