"""``trossen-pi0 benchmark``: times a policy from numpy to numpy."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.cli import arguments as common

if TYPE_CHECKING:
    from trossen_pi0_policy.cli.timing import Measurement

_DESCRIPTION = """\
Times inference from numpy observations to numpy actions, preparation included.

Cold start is what comes before the first timed call: loading, compiling, the first call.
"""
_CAMERAS = "cam_high,cam_left_wrist,cam_right_wrist"
_CHECKPOINT_ONLY = ("config", "tokenizer", "default_prompt", "asset_id", "reference_client_compat")
_SETTINGS = ("checkpoint", "config", "preset", "dtype", "steps", "cameras", "batch", "rtc")
_PROMPT = "grab and handover the red cube"


def add_to(commands: Any) -> None:
    """Adds the command to the subcommands of a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "benchmark",
        help="time inference",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    source = parser.add_mutually_exclusive_group(required=True)
    common.add_checkpoint(source)
    source.add_argument("--preset", metavar="NAME", help="model preset, with --random-weights")
    parser.add_argument(
        "--random-weights", action="store_true", help="no checkpoint: random weights for --preset"
    )
    common.add_config(parser)
    _add_workload(parser)
    common.add_sampling(parser, dtype="auto")
    common.add_prompts(parser)
    parser.add_argument(
        "--json", type=common.output_file, metavar="FILE", help="write the figures there too"
    )


def run(arguments: argparse.Namespace) -> None:
    """Times the policy and prints a table.

    Raises:
        ParameterError: arguments that do not go together.
        TrossenPi0Error: the policy cannot be made, or does not take the observation.
    """
    _check(arguments)

    from trossen_pi0_policy.cli.policies import load_from, make_random
    from trossen_pi0_policy.cli.timing import measure, random_requests, write_json

    requests = random_requests(
        cameras=arguments.cameras,
        batch=arguments.batch,
        image_size=arguments.image_size,
        prompt=arguments.prompt,
        seed=arguments.seed,
        with_prefix=arguments.rtc != "none",
    )
    measurement = measure(
        lambda: (
            make_random(arguments)
            if arguments.random_weights
            else load_from(arguments, max_batch=arguments.batch, rtc=arguments.rtc)
        ),
        requests,
        arguments.calls,
    )
    _print_table(arguments, measurement)
    if arguments.json is not None:
        settings = {name: getattr(arguments, name) for name in _SETTINGS}
        write_json(arguments.json, settings, measurement)


def _add_workload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cameras",
        type=_camera_list,
        default=_camera_list(_CAMERAS),
        metavar="NAME,...",
        help=f"cameras of the observation (default: {_CAMERAS})",
    )
    parser.add_argument(
        "--model-cameras",
        type=common.whole_number(1, 4),
        metavar="N",
        help="with --preset: pictures that the model takes (default: as the preset)",
    )
    parser.add_argument(
        "--image-size",
        type=common.whole_number(1, 4096),
        default=224,
        metavar="N",
        help="edge of the square pictures [pixels] (default: %(default)s)",
    )
    parser.add_argument(
        "--prompt", default=_PROMPT, metavar="TEXT", help="prompt (default: %(default)s)"
    )
    parser.add_argument(
        "--batch",
        type=common.whole_number(1, 256),
        default=1,
        metavar="N",
        help="observations in each call (default: %(default)s)",
    )
    parser.add_argument(
        "--rtc",
        choices=("none", "guided", "conditioned"),
        default="none",
        help="observations bring a prefix that the chunks shall agree with (default: %(default)s)",
    )
    parser.add_argument(
        "--calls",
        type=common.whole_number(1, 1_000_000),
        default=50,
        metavar="N",
        help="timed calls (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=common.whole_number(0, 2**31 - 1),
        default=0,
        metavar="N",
        help="for random weights and pictures (default: %(default)s)",
    )


def _check(arguments: argparse.Namespace) -> None:
    if arguments.random_weights and arguments.preset is None:
        raise ParameterError("--random-weights goes with --preset, a checkpoint has weights")
    if arguments.preset is not None and not arguments.random_weights:
        raise ParameterError("--preset needs --random-weights: weights come from --checkpoint only")
    if arguments.preset is not None:
        given = [name for name in _CHECKPOINT_ONLY if getattr(arguments, name)]
        if given:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ParameterError(f"{names} goes with --checkpoint, not with --preset")
    elif arguments.model_cameras is not None:
        raise ParameterError("--model-cameras goes with --preset, a checkpoint has its own number")


def _camera_list(text: str) -> tuple[str, ...]:
    cameras = tuple(name.strip() for name in text.split(","))
    if not all(cameras) or len(set(cameras)) != len(cameras):
        raise argparse.ArgumentTypeError(
            f"need different camera names between commas, got {text!r}"
        )
    return cameras


def _print_table(arguments: argparse.Namespace, measurement: Measurement) -> None:
    from rich.console import Console
    from rich.table import Table

    source = arguments.checkpoint or f"{arguments.preset}, random weights"
    cameras = len(arguments.cameras)
    table = Table(
        title=f"{source}, {arguments.dtype}, {arguments.steps} steps, {cameras} camera"
        f"{'s' * (cameras > 1)}, batch {arguments.batch}, "
        f"{'' if arguments.rtc == 'none' else f'rtc {arguments.rtc}, '}{measurement.device}"
    )
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name, figure in measurement.rows():
        table.add_row(name, figure)
    Console(soft_wrap=True).print(table)
