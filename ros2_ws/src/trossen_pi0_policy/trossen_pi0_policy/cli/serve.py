"""``trossen-pi0 serve``: answers openpi's websocket protocol."""

from __future__ import annotations

import argparse
import logging
import os
from typing import Any

from trossen_pi0_policy.cli import arguments as common

_DESCRIPTION = """\
Serves a checkpoint over openpi's websocket protocol, and GET /healthz over HTTP.

Clients that shall prove themselves send 'Authorization: Api-Key KEY'. The key is read from
--api-key-file or the environment variable TROSSEN_PI0_API_KEY; without one everybody may ask.
"""


def add_to(commands: Any) -> None:
    """Adds the command to the subcommands of a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve",
        help="serve a checkpoint over openpi's websocket protocol",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    common.add_checkpoint(parser, required=True)
    common.add_config(parser)
    common.add_sampling(parser, dtype="auto")
    common.add_prompts(parser)
    parser.add_argument(
        "--api-key-file", type=common.existing_file, metavar="FILE", help="file with the API key"
    )
    parser.add_argument(
        "--rtc",
        choices=("auto", "guided", "conditioned", "none"),
        default="auto",
        help="how chunks are made to agree with what clients are executing (real-time chunking); "
        "auto: conditioned for checkpoints that were trained so, else guided (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="log what happens on each connection"
    )
    _add_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Loads and warms the policy up, then serves until SIGINT or SIGTERM.

    Raises:
        ParameterError: an argument that is not allowed, before anything is loaded.
        TrossenPi0Error: the checkpoint cannot be served, or the port not be listened on.
    """
    from trossen_pi0_core.parameters.spec import specs
    from trossen_pi0_policy.serving import PolicyServer, ServerOptions, read_api_key

    _set_up_log(verbose=arguments.verbose)
    options = ServerOptions(
        **{spec.name: getattr(arguments, spec.name) for spec in specs(ServerOptions)}
    )
    api_key = read_api_key(arguments.api_key_file, os.environ)

    from trossen_pi0_policy.cli.policies import load_from
    from trossen_pi0_policy.serving.listening import check_listening

    check_listening(options)
    log = logging.getLogger(__name__)
    log.info("loading %s", arguments.checkpoint)
    policy = load_from(arguments, max_batch=options.max_batch, rtc=arguments.rtc)
    log.info("warming up")
    policy.warm_up()
    PolicyServer(policy, options, api_key=api_key).run(handle_signals=True)


def _add_options(parser: argparse.ArgumentParser) -> None:
    """The server's options, one argument each."""
    from trossen_pi0_core.parameters.spec import specs
    from trossen_pi0_policy.serving.options import ServerOptions

    for spec in specs(ServerOptions):
        parser.add_argument(
            f"--{spec.name.replace('_', '-')}",
            type=spec.type,
            default=spec.default,
            metavar="N" if spec.type is not str else "HOST",
            help=f"{spec.description} (default: %(default)s)",
        )


def _set_up_log(*, verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if not verbose:
        # Port scans and health checks would fill the log with failed handshakes.
        logging.getLogger("trossen_pi0_policy.serving.server.websocket").setLevel(logging.CRITICAL)
        logging.getLogger("jax").setLevel(logging.WARNING)
