"""Pictures of ranks, training and results."""
