"""Stages `adapt` and `demo`: the whole job in one call."""
