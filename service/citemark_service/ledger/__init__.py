"""Every scored rollout, kept: input, verdicts, reward, versions, cost, and where in training."""
