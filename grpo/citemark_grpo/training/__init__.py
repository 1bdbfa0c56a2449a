"""GRPO training of a research refiner against Citemark, on TRL's trainer. Extra: `train`.

    flags, published, further   every flag in one table: type, default, effect, what it becomes
    plan                        the flags' values as one plan of a run; pure
    policy                      the model and its tokenizer, looked at before anything is loaded
    prompt, rows, loading       rows of any shape into prompts and rollouts; over-long ones dropped
    budget, dry_run             what a step costs in tokens, and the plan on paper
    reward, trainer, assemble   Citemark as TRL's reward; TRL's trainer; the two put together
    survival/                   checkpoints on a full disk, and exact resume
    record/, recording          journal, metrics, sampled rollouts, model card, plot
    stopping                    what a signal does to a run
    session, cli                one run from its plan to its end; the command `citemark-grpo`

Nothing heavy is imported before it is used: the plan and its flags need no torch.
"""
