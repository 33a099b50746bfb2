"""Stage `evaluate`: scores, comparison sheet and report."""
