"""Checks that what the documentation says can be done can be done: commands, links, messages."""
