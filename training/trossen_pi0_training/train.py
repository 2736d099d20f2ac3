"""Trains a policy: ``python -m trossen_pi0_training.train CONFIG --exp-name NAME``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_training.config.command_line import parse_config

_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 after an error; 128 and the signal's number where one ended the training."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    quiet = ("jax._src.xla_bridge", "absl", "orbax", "trossen_pi0_policy.checkpoints.layout")
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)
    words = sys.argv[1:] if argv is None else argv
    try:
        config = parse_config(words, "python -m trossen_pi0_training.train")
        from trossen_pi0_training.fit.mesh import initialize_processes
        from trossen_pi0_training.run.loop import train
        from trossen_pi0_training.run.processes import is_first

        initialize_processes()
        if not is_first():  # what all say is said once
            logging.getLogger().setLevel(logging.WARNING)
        outcome = train(config)
    except (TrossenPi0Error, OSError) as error:
        _LOG.error("%s", error)
        return 1
    if outcome.signal:
        _LOG.info("ended by a signal; go on from step %d with --resume", outcome.step)
        return 128 + outcome.signal
    _LOG.info("trained %d steps: %s", outcome.step, config.run_folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
