"""Offline evaluation: what a policy would have done at moments of recorded episodes."""
