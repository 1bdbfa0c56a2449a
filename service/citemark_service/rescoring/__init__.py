"""Rewards again: the same verdicts under other knobs, or the same rollouts under another judge."""
