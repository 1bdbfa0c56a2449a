"""The HTTP routes: thin handlers, one router for each concern."""
