"""adaptsr: rank-aware low-rank adaptation of super-resolution networks to real cameras."""

__version__ = "0.1.0"
