"""Fidelity and perceptual metrics under named protocols."""
