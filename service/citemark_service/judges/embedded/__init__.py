"""The judge without a model: words, numbers, names and negations."""
