"""Super-resolving images of any size by tiles."""
