"""Looks at everything that a run needs, without moving anything: ``make doctor``."""
