"""The log: one line or one JSON object a record, each saying which request and rollout it is of."""
