"""``trossen-pi0 infer``: one observation from files, its actions to a file."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from trossen_pi0_core.errors import BackendError
from trossen_pi0_policy.cli import arguments as common

_DESCRIPTION = """\
Answers one observation.

The observation is an .npz file with the arrays of a websocket request:
  state             (14,) [rad; m for carriages]
  images/<camera>   uint8 RGB (3, height, width), cam_high at least
  prompt            one text, unless --default-prompt is given
The actions are written as float32 (horizon, 14) [rad; m for carriages], unnormalised.
"""


def add_to(commands: Any) -> None:
    """Adds the command to the subcommands of a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "infer",
        help="answer one observation from a file",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    common.add_checkpoint(parser, required=True)
    common.add_config(parser)
    parser.add_argument(
        "--observation",
        type=common.existing_file,
        required=True,
        metavar="FILE.npz",
        help="the observation, see above",
    )
    parser.add_argument(
        "--noise",
        type=common.existing_file,
        metavar="FILE.npy",
        help="start of the flow, float (horizon, 32); default: drawn anew",
    )
    parser.add_argument(
        "--out",
        type=common.output_file,
        required=True,
        metavar="FILE.npy",
        help="where the actions are written; untouched if anything fails",
    )
    common.add_sampling(parser, dtype="float32")
    common.add_prompts(parser)


def run(arguments: argparse.Namespace) -> None:
    """Reads and checks the files, then loads the policy, asks it, and writes the actions.

    Raises:
        TrossenPi0Error: a file is malformed, the checkpoint cannot be used, or the actions make no
            sense.
    """
    import numpy as np

    from trossen_pi0_policy.cli.files import read_noise, read_observation, write_atomically

    request = read_observation(arguments.observation)
    noise = None if arguments.noise is None else read_noise(arguments.noise)

    from trossen_pi0_policy.cli.policies import load_from

    answer = load_from(arguments).infer_one(request, noise=noise)
    actions = np.asarray(answer["actions"], np.float32)
    if actions.ndim != 2 or not np.isfinite(actions).all():
        raise BackendError(
            f"the actions must be finite rows, got shape {actions.shape} with "
            f"{np.count_nonzero(~np.isfinite(actions))} values that are not; nothing is written"
        )
    write_atomically(arguments.out, lambda stream: np.save(stream, actions, allow_pickle=False))
    sys.stdout.write(f"{arguments.out}: {actions.shape[0]} rows of {actions.shape[1]} joints\n")
