"""Saliency of the sites, and allocation of a parameter budget to their ranks."""
