"""Rescoring: stored verdicts under other knobs, or stored rollouts under another judge."""
