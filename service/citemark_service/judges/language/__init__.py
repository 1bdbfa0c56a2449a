"""The judge that is a language model: prompts, grammar, replies and evidence."""
