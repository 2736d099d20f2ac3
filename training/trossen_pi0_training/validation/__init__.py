"""How well a policy does on held-out episodes while it is trained."""
