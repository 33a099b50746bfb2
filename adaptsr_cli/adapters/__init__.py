"""Sites of a network that can be adapted, and the parametrizations that methods put there."""
