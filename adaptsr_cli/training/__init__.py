"""The adaptation loop, its schedule, state and log."""
