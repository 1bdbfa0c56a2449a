"""From hostile text to values: sources, the answer block, its claims and sentences."""
