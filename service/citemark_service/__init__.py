"""The reward service: from a rollout to a judged reward, over HTTP and on the command line."""
