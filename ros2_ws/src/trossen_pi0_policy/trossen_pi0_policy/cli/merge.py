"""``trossen-pi0 merge``: a checkpoint with LoRA adapters becomes one of the plain model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from trossen_pi0_policy.cli import arguments as common

_DESCRIPTION = """\
Adds LoRA adapters to the weights, and writes these in another type if one is named.

The checkpoint that is written has openpi's layout and the plain config, so that openpi and this
suite serve it without adapters; its answers are the same. Assets and metadata are kept.
"""


def add_to(commands: Any) -> None:
    """Adds the command to the subcommands of a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "merge",
        help="add a checkpoint's LoRA adapters to its weights",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    common.add_checkpoint(parser, required=True)
    common.add_config(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="step folder to be made; one that is there is not touched",
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        help="of the weights that are written; a checkpoint without adapters is taken then too",
    )


def run(arguments: argparse.Namespace) -> None:
    """Merges and says where.

    Raises:
        TrossenPi0Error: the output exists, or the checkpoint has no adapters or cannot be used.
    """
    from trossen_pi0_policy.pi0.merging import merge_checkpoint

    folder = merge_checkpoint(
        arguments.checkpoint, arguments.output, arguments.config, arguments.dtype
    )
    sys.stdout.write(f"{folder}: written\n")
