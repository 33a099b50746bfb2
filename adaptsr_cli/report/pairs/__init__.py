"""``pairs.html``: what became of shots that were paired."""
