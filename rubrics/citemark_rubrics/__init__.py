"""The static rubric sets as data, and their loader."""
