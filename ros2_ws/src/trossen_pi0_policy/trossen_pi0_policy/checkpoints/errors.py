"""What can go wrong with checkpoints and their downloads."""

from trossen_pi0_core.errors import TrossenPi0Error


class CheckpointError(TrossenPi0Error):
    """A checkpoint cannot be read or written."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """The leaves of a checkpoint are not those of the model."""


class DownloadError(TrossenPi0Error):
    """A file cannot be had from where it is kept."""


class DownloadInterruptedError(DownloadError):
    """A download ended early; what arrived is kept, and the next try goes on from there."""
