"""Super-resolution networks: loading, architecture traits, the catalogue of checkpoints."""
