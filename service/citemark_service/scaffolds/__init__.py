"""Files that a framework needs in its own tree to find the service; written by `scaffold`."""
