"""Which sites matter (saliency), and how a parameter budget is spent on them (allocation)."""
