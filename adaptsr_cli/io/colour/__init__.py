"""Colour descriptions of files: what the numbers mean, and how they are brought to another meaning."""
