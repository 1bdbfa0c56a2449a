"""A result in words and signs, for whoever reads it: on a terminal or on a page. Pure."""
