"""Stage `train`: adapters trained at the planned sites."""
