"""A config from the command line: a name, then any of its fields."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.registry import find_config, known_configs


def parse_config(words: Sequence[str], program: str) -> TrainConfig:
    """The config of ``NAME [--config-file FILE] [--FIELD VALUE ...]``.

    Args:
        words: of the command line.
        program: its name, for help.

    Raises:
        ParameterError: no such config, or a value that is not allowed.
        SystemExit: after help, or for words that are not understood.
    """
    first = argparse.ArgumentParser(prog=program, add_help=False, allow_abbrev=False)
    first.add_argument("--config-file", type=Path)
    known, rest = first.parse_known_args(list(words))
    configs = known_configs(known.config_file)
    if not rest or rest[0].startswith("-"):
        text = f"usage: {program} CONFIG [--config-file FILE] [--FIELD VALUE ...]"
        lines = [text, f"configs: {', '.join(configs)}", f"fields: {program} CONFIG --help"]
        if any(word in ("-h", "--help") for word in rest):
            sys.stdout.write("\n".join(lines) + "\n")
            raise SystemExit(0)
        raise ParameterError(f"name a config, one of {list(configs)}")
    default = find_config(rest[0], configs)
    return tyro.cli(TrainConfig, prog=f"{program} {rest[0]}", args=rest[1:], default=default)
