"""Examples whose pictures are cached: whole batches at once, by numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_core.contract import LARGEST_TARGET
from trossen_pi0_core.transforms import NormStats, pad_last
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.batches import HostBatch
from trossen_pi0_training.feed.examples import EpisodeExamples
from trossen_pi0_training.feed.picture_cache import PictureCache


class CachedExamples(EpisodeExamples):
    """The same to the bit as those that are made one by one. Any threads beside each other.

    Copying pictures and numbers leaves Python's lock to the other threads.
    """

    def __init__(
        self,
        config: TrainConfig,
        frames: LeRobotFrames,
        stats: Mapping[str, NormStats],
        episodes: Sequence[int],
        cache: PictureCache,
    ) -> None:
        """Args:
            config: of the training.
            frames: its data set.
            stats: of state and actions.
            episodes: numbers of those wanted.
            cache: of their pictures.

        Raises:
            TrainingError: prompts that the model cannot take whole, no tokeniser, or states that
                no robot can be in.
        """
        super().__init__(config, frames, stats, episodes)
        self._cache = cache
        states = self._states[self._numbers]
        bad = np.argwhere(~(np.abs(states) <= LARGEST_TARGET))
        if len(bad):
            number, joint = bad[0]
            raise TrainingError(
                f"example {number}: the state must be finite and within +-{LARGEST_TARGET:g}, "
                f"got {states[number, joint]} for {frames.joint_names[joint]}"
            )
        tasks = frames.column("task_index")[self._numbers]
        if self._prompt is not None:
            tasks, texts = np.zeros_like(tasks), (self._prompt,)
        else:
            texts = frames.tasks
        used, self._prompt_of = np.unique(tasks, return_inverse=True)
        self._prompts = [texts[task] for task in used]
        self._shared = None
        if not self._transform.config.discrete_state:
            any_states = np.zeros((len(used), len(config.data.joints)))
            self._shared = self._tokenized(np.arange(len(used)), any_states)

    @override
    def batch(self, numbers: NDArray[np.int64]) -> HostBatch:
        config = self._transform.config
        states, chunks = self._targets(numbers)
        normalised = self._transform.normalised_state(states.astype(np.float64))
        tokens, token_mask = self._tokens(self._prompt_of[numbers], normalised)
        return HostBatch(
            images=self._cache.pictures(self._numbers[numbers]),
            image_mask=np.ones((len(numbers), len(config.cameras)), np.bool_),
            state=pad_last(normalised.astype(np.float32), config.model_dim),
            tokens=tokens,
            token_mask=token_mask,
            actions=self._transform.training_actions(chunks, states),
            numbers=numbers,
        )

    def _tokens(
        self, prompts: NDArray[np.int64], states: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Tokens and their mask of prompts by their numbers, each with its normalised state."""
        if self._shared is None:
            return self._tokenized(prompts, states)
        tokens, mask = self._shared
        return tokens[prompts], mask[prompts]

    def _tokenized(
        self, prompts: NDArray[np.int64], states: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        made = [
            self._transform.tokens(self._prompts[prompt], state)
            for prompt, state in zip(prompts, states, strict=True)
        ]
        tokens, mask = zip(*made, strict=True)
        return np.stack(tokens), np.stack(mask)
