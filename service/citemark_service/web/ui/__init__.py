"""The page at `/ui`: every reward with what led to it, from the ledger."""
