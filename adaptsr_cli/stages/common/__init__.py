"""What several stages share: the run folder, models, adapter files, training data."""
