"""A training from its first check to its last checkpoint."""
