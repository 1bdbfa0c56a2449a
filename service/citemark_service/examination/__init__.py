"""Does the judge's server do what the service relies on? Asked by `doctor` and at start-up."""
