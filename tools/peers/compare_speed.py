"""Times openpi's policy and ours in turns, numpy in and numpy out, with the same parameters.

By hand, on a machine with a GPU and openpi (``rlinf-openpi`` on PyPI)::

    PYTHONPATH=tools python -m peers.compare_speed [--config pi05] [--cameras 4] [--attempts]

Both get the same random bf16 weights, pictures and prompts of full length. Prints a table whose
last column is openpi's time over ours; with ``--error`` how far both are from float32.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import openpi.models.model as openpi_model  # pyright: ignore[reportMissingImports]
from flax import nnx, traverse_util
from numpy.typing import NDArray
from openpi import transforms as openpi_transforms  # pyright: ignore[reportMissingImports]
from openpi.models.pi0_config import Pi0Config  # pyright: ignore[reportMissingImports]
from openpi.policies.policy import Policy  # pyright: ignore[reportMissingImports]
from openpi.shared.normalize import NormStats  # pyright: ignore[reportMissingImports]

from trossen_pi0_core.transforms import ModelInputs, PolicyTransform
from trossen_pi0_core.transforms import NormStats as OurStats
from trossen_pi0_policy.pi0.config import Pi0Config as OurConfig
from trossen_pi0_policy.pi0.config import get_config, with_cameras
from trossen_pi0_policy.pi0.model import ModelBatch, Pi0
from trossen_pi0_policy.pi0.parameters import from_openpi, random_parameters, to_openpi
from trossen_pi0_policy.pi0.policy import Pi0Policy, transform_config
from trossen_pi0_policy.pi0.sampler import Sampler

_JOINTS = 14
_ATTEMPTS: dict[str, dict[str, Any]] = {
    "packed": {"with_cudnn": False, "with_kernels": False},
    "packed, cuDNN attention in the picture tower": {"with_kernels": False},
}


class FullPrompt:
    """Stands for both tokenisers: every prompt has the full length."""

    vocab_size = 257_152

    def __init__(self, length: int) -> None:
        """Args:
        length: tokens of each prompt.
        """
        ids = np.random.default_rng(0).integers(4, 250_000, length)
        self._ids = [int(i) for i in ids]

    def encode(self, text: str, *, begin: bool) -> list[int]:
        """Tokens, as our transforms ask for them; the line end is among those of the text."""
        del text
        return self._ids if begin else []

    def tokenize(self, prompt: str, state: object = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Tokens and their mask, as openpi asks for them."""
        del prompt, state
        return np.array(self._ids), np.ones(len(self._ids), bool)


class ToModel(openpi_transforms.DataTransformFn):
    """openpi's camera map for any number of cameras; its own knows three."""

    def __init__(self, cameras: Mapping[str, str]) -> None:
        """Args:
        cameras: camera -> key of the model.
        """
        self._cameras = cameras

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """From a request to what openpi's model transforms take."""
        images = {k: np.moveaxis(data["images"][c], 0, -1) for c, k in self._cameras.items()}
        return {
            "image": images,
            "image_mask": dict.fromkeys(images, np.True_),
            "state": np.asarray(data["state"]),
            "prompt": data["prompt"],
        }


class Cut(openpi_transforms.DataTransformFn):
    """The joints out of openpi's padded actions."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Keeps the actions alone."""
        return {"actions": np.asarray(data["actions"][:, :_JOINTS])}


def openpi_policy(config: OurConfig, parameters: Mapping[str, Any], prompt: FullPrompt) -> Policy:
    """A policy of openpi around the same parameters, as it builds one for a checkpoint."""
    small = config.language.width == get_config("dummy").language.width
    variants = {"paligemma_variant": "dummy", "action_expert_variant": "dummy"} if small else {}
    model = nnx.eval_shape(Pi0Config(pi05=config.pi05, **variants).create, jax.random.key(0))
    graph, state = nnx.split(model)
    nnx.replace_by_pure_dict(state, traverse_util.unflatten_dict(dict(parameters), sep="/"))
    keys = config.cameras
    openpi_model.preprocess_observation.__kwdefaults__["image_keys"] = keys
    stats = NormStats(
        mean=np.zeros(_JOINTS), std=np.ones(_JOINTS), q01=-np.ones(_JOINTS), q99=np.ones(_JOINTS)
    )
    both = {"state": stats, "actions": stats}
    cameras = dict(transform_config(config).cameras)
    return Policy(
        nnx.merge(graph, state),
        transforms=[
            ToModel(cameras),
            openpi_transforms.Normalize(both, use_quantiles=config.pi05),
            openpi_transforms.ResizeImages(config.image_size, config.image_size),
            openpi_transforms.TokenizePrompt(prompt, discrete_state_input=config.pi05),
            openpi_transforms.PadStatesAndActions(config.action_dim),
        ],
        output_transforms=[openpi_transforms.Unnormalize(both, use_quantiles=config.pi05), Cut()],
    )


def our_policy(config: OurConfig, sampler: Any, prompt: FullPrompt) -> Pi0Policy:
    """Our policy around a sampler."""
    ones = np.ones(_JOINTS)
    stats = OurStats(mean=0 * ones, std=ones, q01=-ones, q99=ones)
    transform = PolicyTransform(
        transform_config(config), {"state": stats, "actions": stats}, prompt
    )
    return Pi0Policy(sampler, transform)


def request(config: OurConfig, seed: int) -> dict[str, Any]:
    """An observation with random pictures."""
    rng = np.random.default_rng(seed)
    shape = (3, config.image_size, config.image_size)
    cameras = [camera for camera, _ in transform_config(config).cameras]
    return {
        "state": rng.normal(0, 0.5, _JOINTS).astype(np.float32),
        "images": {camera: rng.integers(0, 256, shape, np.uint8) for camera in cameras},
        "prompt": "grab and handover the red cube",
    }


def show(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def times_ms(ask: Callable[[], object], calls: int) -> list[float]:
    """How long each call takes, after three that do not count [ms]."""
    taken = []
    for i in range(calls + 3):
        begun_s = time.perf_counter()
        ask()
        if i >= 3:
            taken.append((time.perf_counter() - begun_s) * 1e3)
    return taken


def compare(
    name: str, theirs: Callable[[], object], ours: Callable[[], object], calls: int
) -> None:
    """Prints a row of the table."""
    peer, own = [], []
    for _ in range(2):
        peer += times_ms(theirs, calls)
        own += times_ms(ours, calls)
    fast, slow = np.median(own), np.median(peer)
    late = np.percentile(own, 95)
    row = f"| {name} | {slow:.1f} ms | {fast:.1f} ms | {late:.1f} ms | {slow / fast:.1f} x |"
    show(row)


def print_errors(config: OurConfig, tree: Any, sampler: Sampler, policy: Policy) -> None:
    """How far the actions of both are from float32, ||a - b|| / ||b||."""
    plain = Pi0(config)
    full = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
    sample = jax.jit(lambda p, b, n: plain.apply({"params": p}, b, n, method=Pi0.sample))
    for seed in range(4):
        inputs, noise = random_inputs(config, seed)
        batch = alone(inputs)
        with jax.default_matmul_precision("highest"):
            exact = np.asarray(sample(full, batch, noise[None]))[0]
        observation = openpi_model.Observation(
            images={
                key: jnp.asarray(batch.images[:, i], jnp.float32) / 255.0 * 2.0 - 1.0
                for i, key in enumerate(config.cameras)
            },
            image_masks={k: batch.image_mask[:, i] for i, k in enumerate(config.cameras)},
            state=batch.state,
            tokenized_prompt=batch.tokens,
            tokenized_prompt_mask=batch.token_mask,
        )
        key = jax.random.key(0)
        theirs = np.asarray(policy._sample_actions(key, observation, noise=noise[None]))[0]  # noqa: SLF001
        ours = sampler([inputs], noise[None])[0]
        norm = np.linalg.norm(exact)
        errors = (np.linalg.norm(actions - exact) / norm for actions in (theirs, ours))
        show("error of observation {}: openpi {:.5f}, ours {:.5f}".format(seed, *errors))


def random_inputs(config: OurConfig, seed: int) -> tuple[ModelInputs, NDArray[np.float32]]:
    """Inputs of the model and noise; of odd seeds a camera is masked and the prompt short."""
    rng = np.random.default_rng(seed)
    cameras, tokens = len(config.cameras), config.max_token_len
    is_partial = seed % 2 == 1
    inputs = ModelInputs(
        images=rng.integers(0, 256, (cameras, config.image_size, config.image_size, 3), np.uint8),
        image_mask=np.arange(cameras) < cameras - is_partial,
        state=rng.standard_normal(config.action_dim, np.float32),
        tokens=rng.integers(4, 250_000, tokens).astype(np.int32),
        token_mask=np.arange(tokens) < (9 if is_partial else tokens),
    )
    return inputs, rng.standard_normal((config.action_horizon, config.action_dim), np.float32)


def alone(inputs: ModelInputs) -> ModelBatch:
    """A batch of one observation."""
    return ModelBatch(**{k: jnp.asarray(v)[None] for k, v in vars(inputs).items()})


class AsTrained:
    """Samples by the model as it is trained, its layers in a loop."""

    max_batch = 1

    def __init__(self, tree: Any, config: OurConfig) -> None:
        """Args:
        tree: parameters.
        config: of these.
        """
        self.config = config
        self._tree = tree
        model = Pi0(config, jnp.bfloat16)
        self._sample = jax.jit(lambda p, b, n: model.apply({"params": p}, b, n, method=Pi0.sample))

    def __call__(self, inputs: list[ModelInputs], noise: NDArray[np.float32]) -> NDArray[Any]:
        """See ``Sampler``."""
        return np.asarray(self._sample(self._tree, alone(inputs[0]), noise))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="pi0", choices=("pi0", "pi05", "dummy", "pi05_dummy"))
    parser.add_argument("--cameras", type=int, default=3, choices=(3, 4))
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--attempts", action="store_true", help="slower ways to run it as well")
    parser.add_argument("--error", action="store_true", help="distance from float32 as well")
    arguments = parser.parse_args()
    config = with_cameras(get_config(arguments.config), arguments.cameras)
    tree = random_parameters(config, 0, "bfloat16")
    prompt = FullPrompt(config.max_token_len)
    policy = openpi_policy(config, to_openpi(tree, config), prompt)
    asked = request(config, 0)

    def theirs() -> object:
        return policy.infer({**asked, "images": dict(asked["images"])})

    show(f"{arguments.config}, {len(config.cameras)} cameras, {jax.devices()[0].device_kind}")
    show("| way | openpi `Policy.infer` | ours | p95 | ratio |\n| --- | --- | --- | --- | --- |")
    if arguments.attempts:
        plain = our_policy(config, AsTrained(tree, config), prompt)
        compare("as trained", theirs, lambda: plain.infer_one(asked), arguments.calls)
        for name, choices in _ATTEMPTS.items():
            slower = our_policy(config, Sampler(tree, config, **choices), prompt)
            compare(name, theirs, lambda p=slower: p.infer_one(asked), arguments.calls)
    sampler = Sampler(from_openpi(to_openpi(tree, config), config), config)
    sampler.warm_up()
    served = our_policy(config, sampler, prompt)
    compare("served", theirs, lambda: served.infer_one(asked), arguments.calls)
    if arguments.error:
        print_errors(config, tree, sampler, policy)


if __name__ == "__main__":
    main()
