"""Storage of every scored rollout: input, verdicts, reward, versions, cost, run and step."""
