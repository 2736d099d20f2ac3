"""Examples without a data set: smooth motions that depend on what is seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_core.transforms import NormStats, PolicyTransform
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.feed.batches import Example, HostBatch, make_batch
from trossen_pi0_training.feed.examples import (
    Examples,
    check_prompts,
    make_tokenizer,
    transform_config,
)

COUNT = 4096
_SIZE = (48, 64)
_AMPLITUDE = 0.5


def synthetic_stats(joints: int) -> dict[str, NormStats]:
    """Norm stats that leave values as they are."""
    one = np.ones(joints)
    stats = NormStats(mean=0 * one, std=one, q01=-one, q99=one)
    return {"state": stats, "actions": stats}


class SyntheticExamples(Examples):
    """Chunks of sines whose phase is that of the state and the brightness of the pictures.

    Any threads.
    """

    def __init__(self, config: TrainConfig, *, held_out: bool) -> None:
        """Args:
            config: of the training.
            held_out: other ones than those trained on.

        Raises:
            TrainingError: the prompt is too long, or there is no tokeniser.
        """
        model = model_config(config)
        tokenizer = make_tokenizer(config, model)
        joints = len(config.data.joints)
        self._cameras = config.data.cameras
        self._joints, self._horizon = joints, model.action_horizon
        self._seed = [config.seed, int(held_out)]
        self._prompt = config.data.default_prompt or "do the task"
        check_prompts({self._prompt}, tokenizer, model, joints)
        self._transform = PolicyTransform(
            transform_config(config, model), synthetic_stats(joints), tokenizer
        )

    @override
    def __len__(self) -> int:
        return COUNT

    @override
    def batch(self, numbers: NDArray[np.int64]) -> HostBatch:
        return make_batch(self.example, numbers)

    def example(self, number: int) -> Example:
        """Makes one; the same number gives the same one."""
        state, chunk = self.target(number)
        rng = np.random.default_rng([*self._seed, number, 1])
        bright = int(127 + 127 * state[0] / _AMPLITUDE)
        pictures = {
            camera: rng.integers(bright // 2, bright + 1, (3, *_SIZE)).astype(np.uint8)
            for camera in self._cameras
        }
        request = {"state": state, "images": pictures, "prompt": self._prompt}
        actions = self._transform.training_actions(chunk, state)
        return Example(self._transform.inputs(request), actions)

    @override
    def target(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        phase = np.random.default_rng([*self._seed, number]).uniform(0, 2 * np.pi)
        at = phase + 0.1 * np.arange(self._horizon + 1)[:, None] + 0.2 * np.arange(self._joints)
        rows = (_AMPLITUDE * np.sin(at)).astype(np.float32)
        return rows[0], rows[1:]
