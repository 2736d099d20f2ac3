"""Starts the suite: one table of arguments and nodes for launch files and the supervisor."""
