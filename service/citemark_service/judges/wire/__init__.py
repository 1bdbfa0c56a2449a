"""The way to a judge's server: HTTP, retries and what came back."""
