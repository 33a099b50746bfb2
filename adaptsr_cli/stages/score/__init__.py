"""Stage `score`: how much the loss wants each site changed."""
