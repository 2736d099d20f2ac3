"""Examples of a data set as the model takes them, by the transforms of the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.transforms import (
    ALOHA_DELTA_RUNS,
    ByteTokenizer,
    NormStats,
    PolicyTransform,
    SentencePieceTokenizer,
    Tokenizer,
    TransformConfig,
    mask_from_runs,
    tokenize_prompt,
)
from trossen_pi0_policy.checkpoints import tokenizer_file
from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_training import layout
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.dataset import DatasetFrame, LeRobotFrames
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.batches import Example, HostBatch, make_batch
from trossen_pi0_training.feed.selection import example_frames


class Examples(Protocol):
    """Examples by number; the same number gives the same one. One thread, unless it says more."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, numbers: NDArray[np.int64]) -> HostBatch:
        """Makes those of shape (batch,), in their order.

        Raises:
            TrossenPi0Error: one cannot be made.
        """
        ...

    def target(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """State and chunk of one, as recorded: shapes (joints,) and (horizon, joints) [rad; m]."""
        ...


def transform_config(config: TrainConfig, model: Pi0Config) -> TransformConfig:
    """How observations become the model's inputs."""
    data = config.data
    return TransformConfig(
        cameras=tuple(zip(data.cameras, model.cameras, strict=True)),
        image_size=model.image_size,
        robot_dim=len(data.joints),
        model_dim=model.action_dim,
        max_token_len=model.max_token_len,
        quantiles=model.pi05,
        discrete_state=model.pi05,
        delta_mask=mask_from_runs(*ALOHA_DELTA_RUNS) if data.delta_actions else None,
        default_prompt=data.default_prompt,
    )


def make_tokenizer(config: TrainConfig, model: Pi0Config) -> Tokenizer:
    """The model's tokeniser.

    Raises:
        TrossenPi0Error: it needs a file that is not to be had, or is none.
    """
    if model.tokenizer == "bytes":
        return ByteTokenizer()
    return SentencePieceTokenizer(tokenizer_file(config.tokenizer_file))


class EpisodeExamples(Examples):
    """Examples of chosen episodes, wherever their pictures come from.

    Each frame is one, or each ``frame_step``-th of an episode, with the actions from it on. Behind
    the end of an episode its last action is repeated, as LeRobot does.
    """

    def __init__(
        self,
        config: TrainConfig,
        frames: LeRobotFrames,
        stats: Mapping[str, NormStats],
        episodes: Sequence[int],
    ) -> None:
        """Args:
            config: of the training.
            frames: its data set.
            stats: of state and actions.
            episodes: numbers of those wanted.

        Raises:
            TrainingError: prompts that the model cannot take whole, or no tokeniser.
        """
        model = model_config(config)
        tokenizer = make_tokenizer(config, model)
        self._frames = frames
        self._horizon = model.action_horizon
        self._prompt = None if config.data.prompt_from_task else config.data.default_prompt
        self._transform = PolicyTransform(transform_config(config, model), stats, tokenizer)
        spans = [frames.episodes[number] for number in episodes]
        # One that is cut may have none, whose array would not be of whole numbers.
        chosen = [np.array(example_frames(frames, n, config), np.int64) for n in episodes]
        self._numbers = np.concatenate(chosen)
        self._ends = np.concatenate(
            [np.full(len(c), s.first + s.length) for c, s in zip(chosen, spans, strict=True)]
        )
        self._actions = frames.select(frames.joint_names, layout.ACTION)
        self._states = frames.select(frames.joint_names, layout.STATE)
        prompts = {task for s in spans for task in s.tasks} if self._prompt is None else set()
        check_prompts(prompts or {self._prompt or ""}, tokenizer, model, len(config.data.joints))

    @override
    def __len__(self) -> int:
        return len(self._numbers)

    @override
    def target(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        (state,), (chunk,) = self._targets(np.array([number]))
        return state, chunk

    def _targets(
        self, numbers: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """States (batch, joints) and chunks (batch, horizon, joints) [rad; m for carriages]."""
        firsts = self._numbers[numbers]
        rows = firsts[:, None] + np.arange(self._horizon)
        rows = np.minimum(rows, self._ends[numbers][:, None] - 1)
        return self._states[firsts], self._actions[rows]


class DatasetExamples(EpisodeExamples):
    """Those whose pictures are read from the data set, one by one."""

    @override
    def batch(self, numbers: NDArray[np.int64]) -> HostBatch:
        return make_batch(self.example, numbers)

    def example(self, number: int) -> Example:
        """Makes one.

        Raises:
            TrossenPi0Error: its pictures cannot be read.
        """
        frame = self._frame(int(self._numbers[number]))
        state, chunk = self.target(number)
        request: dict[str, Any] = {
            "state": state,
            "images": {name: np.moveaxis(image, 2, 0) for name, image in frame.images.items()},
            "prompt": frame.task if self._prompt is None else self._prompt,
        }
        inputs = self._transform.inputs(request)
        return Example(inputs, self._transform.training_actions(chunk, state))

    def _frame(self, index: int) -> DatasetFrame:
        try:
            return self._frames.frame(index)
        except DatasetError as error:
            episode = int(self._frames.column("episode_index")[index])
            frame = index - self._frames.episodes[episode].first
            raise DatasetError(f"episode {episode}, frame {frame}: {error}") from error


def check_prompts(prompts: set[str], tokenizer: Tokenizer, model: Pi0Config, joints: int) -> None:
    """Raises TrainingError for prompts that the model would cut.

    Args:
        prompts: that occur.
        tokenizer: of the model.
        model: its ``max_token_len`` counts; where the state is part of the prompt, one of numbers
            with three digits is assumed.
        joints: numbers in the state.
    """
    too_long: list[str] = []

    def note(prompt: str, tokens: int, most: int) -> None:
        too_long.append(f"{prompt[:60]!r} has {tokens} tokens, at most {most} are allowed")

    state = np.ones(joints) if model.pi05 else None
    for prompt in sorted(prompts):
        tokenize_prompt(tokenizer, prompt, model.max_token_len, state, on_truncated=note)
    if too_long:
        raise TrainingError(f"prompts are too long: {'; '.join(too_long[:5])}")
