"""Configs by name, ours and those of a user's file."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.presets import PRESETS

_LIST = "CONFIGS"


def known_configs(file: Path | None = None) -> dict[str, TrainConfig]:
    """Configs by name.

    Args:
        file: a Python file that defines ``CONFIGS``, a list of ``TrainConfig``; None: ours alone.

    Raises:
        ParameterError: the file cannot be run, has no such list, or a name occurs twice.
    """
    configs = {config.name: config for config in PRESETS}
    for config in _configs_of(file) if file is not None else ():
        if config.name in configs:
            raise ParameterError(f"{file}: there is a config {config.name!r} already")
        configs[config.name] = config
    return configs


def find_config(name: str, configs: Mapping[str, TrainConfig] | None = None) -> TrainConfig:
    """The config of a name.

    Raises:
        ParameterError: there is none; the closest one is offered.
    """
    configs = known_configs() if configs is None else configs
    if name in configs:
        return configs[name]
    close = difflib.get_close_matches(name, configs, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ParameterError(f"config {name!r} is not one of {list(configs)}{hint}")


def _configs_of(file: Path) -> list[TrainConfig]:
    spec = importlib.util.spec_from_file_location("trossen_pi0_user_configs", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ParameterError(f"a file of configs must be a Python file, got {file}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ParameterError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, _LIST, None)
    if not isinstance(found, (list, tuple)) or not all(isinstance(c, TrainConfig) for c in found):
        raise ParameterError(f"{file} must define {_LIST}, a list of TrainConfig, got {found!r}")
    return list(found)
