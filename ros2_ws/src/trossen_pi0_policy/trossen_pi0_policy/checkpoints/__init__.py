"""openpi's checkpoints: read strictly, written so that openpi reads them, downloaded once."""

from trossen_pi0_policy.checkpoints.downloads import TOKENIZER_URL, fetch, tokenizer_file
from trossen_pi0_policy.checkpoints.errors import (
    CheckpointError,
    CheckpointMismatchError,
    DownloadError,
    DownloadInterruptedError,
)
from trossen_pi0_policy.checkpoints.layout import CheckpointFolder, find_checkpoint
from trossen_pi0_policy.checkpoints.matching import matching_configs
from trossen_pi0_policy.checkpoints.reader import (
    CheckpointInfo,
    LeafInfo,
    read_metadata,
    read_parameters,
)
from trossen_pi0_policy.checkpoints.writer import write_checkpoint

__all__ = [
    "TOKENIZER_URL",
    "CheckpointError",
    "CheckpointFolder",
    "CheckpointInfo",
    "CheckpointMismatchError",
    "DownloadError",
    "DownloadInterruptedError",
    "LeafInfo",
    "fetch",
    "find_checkpoint",
    "matching_configs",
    "read_metadata",
    "read_parameters",
    "tokenizer_file",
    "write_checkpoint",
]
