"""Runs openpi on the golden cases and writes what it answers.

By hand, in an environment with openpi (``rlinf-openpi`` on PyPI), on a CPU::

    PYTHONPATH=tools JAX_PLATFORMS=cpu python -m peers.make_openpi_goldens FOLDER

Writes ``FOLDER/<case>.npz`` with ``loss`` (batch, horizon) and ``actions_<steps>`` (batch,
horizon, 32) of float32 runs, the same behind ``bfloat16_`` of bfloat16 runs, and
``FOLDER/parameter_shapes.json``: versions, and for each of openpi's configurations the shapes of
its parameters by path.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from openpi.models import gemma, lora, siglip  # pyright: ignore[reportMissingImports]
from openpi.models.model import Observation  # pyright: ignore[reportMissingImports]
from openpi.models.pi0_config import Pi0Config  # pyright: ignore[reportMissingImports]
from openpi.shared import nnx_utils  # pyright: ignore[reportMissingImports]

from peers.golden_cases import CAMERAS, CASES, ExpertSize, GoldenCase, GoldenInputs, golden_inputs
from peers.parameter_recipe import seeded_parameters

CONFIGS = {
    "dummy": {"paligemma_variant": "dummy", "action_expert_variant": "dummy"},
    "pi0": {},
    "pi0_lora": {
        "paligemma_variant": "gemma_2b_lora",
        "action_expert_variant": "gemma_300m_lora",
    },
}
"""openpi's fields by our name; each is written for π0.5 as well."""

_LOG = logging.getLogger(__name__)


class _Exactly:
    """Stands for openpi's draw of the flow time, which openpi scales and shifts: stays as it is."""

    def __init__(self, time: jax.Array) -> None:
        self._time = time

    def __mul__(self, factor: float) -> _Exactly:
        return self

    def __add__(self, offset: float) -> jax.Array:
        return self._time


def parameter_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by flat path of the model that openpi builds from its config. Allocates nothing."""
    state = nnx.state(nnx.eval_shape(config.create, jax.random.key(0)))
    flat = traverse_util.flatten_dict(_pure(state), sep="/")
    return {path: tuple(leaf.shape) for path, leaf in sorted(flat.items())}


def answers(case: GoldenCase, dtype: str) -> dict[str, np.ndarray]:
    """Loss and actions of openpi in one precision, the parameters cast as openpi casts them."""
    config = Pi0Config(
        dtype=dtype,
        action_horizon=case.horizon,
        max_token_len=case.max_token_len,
        pi05=case.pi05,
    )
    inputs = golden_inputs(case)
    with sizes(case):
        flat = seeded_parameters(parameter_shapes(config), case.seed)
        cast = {path: jnp.asarray(value, dtype) for path, value in flat.items()}
        model = config.load(traverse_util.unflatten_dict(cast, sep="/"))
        result = {f"actions_{n}": _actions(model, inputs, n) for n in case.steps}
        if case.loss:
            result["loss"] = _loss(model, inputs)
    return result


def _pure(state: Any) -> Any:
    """The state as nested dicts, whatever Flax calls that."""
    convert: Callable[[Any], Any] | None = getattr(nnx, "to_pure_dict", None)
    return convert(state) if convert else state.to_pure_dict()


@contextlib.contextmanager
def sizes(
    case: GoldenCase, language: str = "gemma_2b", action: str = "gemma_300m"
) -> Iterator[None]:
    """Gives two variants of openpi the sizes of the case meanwhile."""
    tower = dataclasses.asdict(case.tower)
    tower["patch_size"] = (case.tower.patch_size,) * 2
    experts = {language: _expert(case.language), action: _expert(case.action)}
    with (
        mock.patch.object(siglip, "decode_variant", return_value=tower),
        mock.patch.object(gemma, "get_config", experts.__getitem__),
        mock.patch.object(gemma, "PALIGEMMA_VOCAB_SIZE", case.vocab_size),
    ):
        yield


def _expert(size: ExpertSize) -> Any:
    fields = dataclasses.asdict(size)
    adapter = fields.pop("lora")
    config = gemma.Config(**fields)
    if adapter is not None:
        rank, alpha = adapter
        adapters = {part: lora.LoRAConfig(rank=rank, alpha=alpha) for part in ("attn", "ffn")}
        config = dataclasses.replace(config, lora_configs=adapters)
    return config


def _observation(inputs: GoldenInputs) -> Any:
    """A new one each time: openpi converts the pictures in place."""
    return Observation.from_dict(
        {
            "image": {k: jnp.asarray(inputs.images[:, i]) for i, k in enumerate(CAMERAS)},
            "image_mask": {k: jnp.asarray(inputs.image_masks[:, i]) for i, k in enumerate(CAMERAS)},
            "state": jnp.asarray(inputs.state),
            "tokenized_prompt": jnp.asarray(inputs.tokens),
            "tokenized_prompt_mask": jnp.asarray(inputs.token_mask),
        }
    )


def _actions(model: Any, inputs: GoldenInputs, steps: int) -> np.ndarray:
    sample = nnx_utils.module_jit(model.sample_actions)
    noise = jnp.asarray(inputs.noise)
    actions = sample(jax.random.key(0), _observation(inputs), noise=noise, num_steps=steps)
    return np.asarray(actions, np.float32)


def _loss(model: Any, inputs: GoldenInputs) -> np.ndarray:
    """The loss; the draws of noise and time inside openpi are replaced by the given ones."""
    noise, time = jnp.asarray(inputs.noise), _Exactly(jnp.asarray(inputs.time))
    draw = jax.random.normal

    def given(key: Any, shape: Any = (), *rest: Any) -> jax.Array:
        """Flax draws initial parameters the same way, in other shapes."""
        return noise if tuple(shape) == noise.shape else draw(key, shape, *rest)

    with (
        mock.patch.object(jax.random, "normal", given),
        mock.patch.object(jax.random, "beta", return_value=time),
    ):
        compute = nnx_utils.module_jit(model.compute_loss)
        loss = compute(jax.random.key(0), _observation(inputs), jnp.asarray(inputs.actions))
    return np.asarray(loss, np.float32)


def _write_shapes(folder: Path) -> None:
    shapes = {}
    for name, fields in CONFIGS.items():
        shapes[name] = parameter_shapes(Pi0Config(**fields))
        name05 = "pi05_dummy" if name == "dummy" else name.replace("pi0", "pi05")
        shapes[name05] = parameter_shapes(Pi0Config(pi05=True, **fields))
    versions = {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions["rlinf-openpi"] = importlib.metadata.version("rlinf-openpi")
    lines = [f"  {json.dumps(name)}: {{\n    {_rows(tree)}\n  }}" for name, tree in shapes.items()]
    text = (
        f'{{\n"made_with": {json.dumps(versions)},\n"shapes": {{\n' + ",\n".join(lines) + "\n}\n}\n"
    )
    (folder / "parameter_shapes.json").write_text(text, encoding="utf-8")


def _rows(tree: dict[str, tuple[int, ...]]) -> str:
    return ",\n    ".join(f"{json.dumps(path)}: {list(shape)}" for path, shape in tree.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the files of all cases, or of those named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("cases", nargs="*", default=[], help=f"of {', '.join(CASES)}; all if none")
    options = parser.parse_args(arguments)
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"no such case: {sorted(unknown)}; there are {list(CASES)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    jax.config.update("jax_default_matmul_precision", "highest")
    options.folder.mkdir(parents=True, exist_ok=True)
    _write_shapes(options.folder)
    for name in options.cases or CASES:
        case = CASES[name]
        arrays = answers(case, "float32")
        if case.bfloat16:
            half = answers(case, "bfloat16")
            arrays.update({f"bfloat16_{key}": value for key, value in half.items()})
        np.savez_compressed(options.folder / f"{name}.npz", **arrays)  # pyright: ignore[reportArgumentType]
        _LOG.info("%s: %s", name, {key: value.shape for key, value in arrays.items()})


if __name__ == "__main__":
    main()
