"""The files that one stage writes and the next reads, as typed, frozen, validated models."""
