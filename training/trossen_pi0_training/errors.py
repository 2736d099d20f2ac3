"""Exceptions of training. Each message says what was wrong, what was given and what is allowed."""

from trossen_pi0_core.errors import TrossenPi0Error


class TrainingError(TrossenPi0Error):
    """A training cannot begin or go on."""
