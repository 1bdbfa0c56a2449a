"""From verdicts to a reward: the formula, citations, and the road of one rollout."""
