"""Stage `merge`: adapters folded into the weights."""
