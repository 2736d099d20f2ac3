"""The processes of the conversion: one episode at a time becomes a shard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.joints import JointMap
from trossen_pi0_training.convert_options import Options
from trossen_pi0_training.convert_plan import Candidate
from trossen_pi0_training.recordings import open_recording
from trossen_pi0_training.shards import write_shard


@dataclass(frozen=True)
class Task:
    """An episode to convert.

    Attributes:
        candidate: the episode.
        folder: the shard to write.
        options: how.
    """

    candidate: Candidate
    folder: Path
    options: Options


def convert_episode(task: Task) -> str:
    """Converts an episode; returns what is wrong with it, or nothing.

    Raises:
        OSError: the shard cannot be written.
    """
    try:
        recording = open_recording(task.candidate, task.options)
        write_shard(
            task.folder,
            recording.frames(),
            origin=recording.origin,
            notes=lambda: recording.notes,
            task=recording.task,
            fps=task.options.fps,
            joint_names=JointMap().dataset_names,
            cameras=recording.cameras,
            codec=task.options.codec,
        )
    except TrossenPi0Error as error:
        return str(error)
    return ""
