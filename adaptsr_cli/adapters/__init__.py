"""Sites of a network that can be adapted, and the low-rank weight parametrizations put there."""
