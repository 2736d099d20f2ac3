"""Policies: backends behind one protocol, the thread that runs them, and the policy node."""
