"""Exceptions of the suite. Each message says what was wrong, what was given and what is allowed."""


class TrossenPi0Error(Exception):
    """Base of all errors that the suite raises itself."""


class ParameterError(TrossenPi0Error, ValueError):
    """A parameter has a value that is not allowed."""


class InvalidChunkError(TrossenPi0Error, ValueError):
    """An action chunk is malformed in itself: shape, period or values."""


class ChunkRejectedError(TrossenPi0Error):
    """A well-formed action chunk is not executed: other joints, out of order, stale, or not now."""


class MoveRejectedError(TrossenPi0Error):
    """A requested motion is not started."""


class TeleopError(TrossenPi0Error):
    """Teleoperation is not started, and why."""


class ObservationError(TrossenPi0Error):
    """An observation cannot be assembled or is malformed."""


class ImageError(ObservationError):
    """A picture has the wrong encoding, type or shape."""


class JointError(TrossenPi0Error, ValueError):
    """Joint names or values do not fit the robot."""


class DescriptionError(TrossenPi0Error, ValueError):
    """A robot cannot be described, or a description is not what it should be."""


class BackendError(TrossenPi0Error):
    """A policy backend cannot answer."""


class BackendUnavailableError(BackendError):
    """The backend cannot be reached for now; trying again may help."""


class NormStatsError(TrossenPi0Error, ValueError):
    """Normalisation statistics are missing, malformed, or not made for this robot."""


class TokenizerError(TrossenPi0Error, ValueError):
    """A tokeniser's file is missing, malformed, or not made for these models."""


class DriverError(TrossenPi0Error):
    """An arm driver failed."""


class EpisodeError(TrossenPi0Error):
    """A recorded episode is missing, malformed, or cannot be written."""


class DatasetError(TrossenPi0Error):
    """A data set is missing, malformed, or cannot be written."""
