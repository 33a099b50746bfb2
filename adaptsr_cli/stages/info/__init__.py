"""Stage `info`: the description of artifacts and checkpoints."""
