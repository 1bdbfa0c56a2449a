"""Parses untrusted rollout text: sources, the answer block, its claims and sentences."""
