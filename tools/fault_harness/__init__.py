"""The stack under test, everything around it, and what it did: see ``stack`` and ``campaign``."""
