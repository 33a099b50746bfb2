"""Camera degradation: the steps that make a low-resolution image, and their estimation from photographs."""
