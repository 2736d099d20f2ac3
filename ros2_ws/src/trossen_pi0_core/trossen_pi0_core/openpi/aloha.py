"""openpi's ALOHA layout: what a policy server for two arms is sent and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import CAMERAS, ActionPrefix, Observation
from trossen_pi0_core.errors import BackendError, ObservationError
from trossen_pi0_core.images import resize_with_pad
from trossen_pi0_core.joints import JointMap, select_joints

ARM_ORDER = ("left", "right")
"""Order of the arms in states and actions; arms of other names keep the order they have."""


class AlohaLayout:
    """Translates between the suite's contract and openpi's messages. Stateless; any thread."""

    def __init__(self, joint_map: JointMap, image_size: int | None) -> None:
        """Args:
        joint_map: joints of the suite, in its order.
        image_size: edge of the square that pictures are fitted into [pixels]; None: they stay as
            they are, for a policy that fits them itself.
        """
        self.joint_names = joint_map.urdf_names
        self.image_size = image_size
        arms = ARM_ORDER if set(joint_map.arms) == set(ARM_ORDER) else joint_map.arms
        self._wire_names = tuple(
            name for arm in arms for name in joint_map.urdf_names[joint_map.arm_slice(arm)]
        )

    def request(self, observation: Observation) -> dict[str, Any]:
        """The observation as a server takes it.

        Returns:
            ``state``: float32, shape (joints,), left arm first [rad; m for carriages];
            ``images``: camera -> uint8 RGB, shape (3, image_size, image_size), fitted with
            padding, never squashed; those that stay as they are share the observation's memory;
            ``prompt``.

        Raises:
            ObservationError: a camera that openpi does not know.
            JointError: a joint is missing.
        """
        unknown = [camera for camera in observation.images if camera not in CAMERAS]
        if unknown:
            raise ObservationError(f"unknown cameras {unknown}, openpi knows {list(CAMERAS)}")
        state = select_joints(observation.joint_names, observation.state, self._wire_names)
        return {
            "state": state.astype(np.float32),
            "images": {camera: self._image(i) for camera, i in observation.images.items()},
            "prompt": observation.prompt,
        }

    def prefix(self, prefix: ActionPrefix, joint_names: Sequence[str]) -> dict[str, Any]:
        """A prefix as the suite's own servers take it, under the request's key ``rtc``.

        Args:
            prefix: what the answer shall agree with.
            joint_names: one for each of its columns.

        Returns:
            ``prefix``: float64, shape (rows, joints), left arm first [rad; m for carriages];
            ``frozen``: how many of the rows are executed whatever the answer is.

        Raises:
            JointError: a joint is missing.
        """
        rows = select_joints(joint_names, prefix.positions, self._wire_names)
        return {"prefix": rows, "frozen": prefix.frozen}

    def committed_rows(self, answer: Mapping[str, Any]) -> int:
        """So many first action rows of an answer agree with the prefix that was sent.

        Raises:
            BackendError: not a number of rows that the answer has.
        """
        rows, limit = answer.get("committed_rows", 0), len(answer["actions"])
        is_whole = isinstance(rows, (int, np.integer)) and not isinstance(rows, bool)
        if not is_whole or not 0 <= rows <= limit:
            raise BackendError(
                f"the answer's 'committed_rows' must be a whole number from 0 to {limit}, its "
                f"rows, got {rows!r}"
            )
        return int(rows)

    def actions(self, answer: Mapping[str, Any]) -> NDArray[np.float64]:
        """The action rows of an answer, in the suite's joint order.

        Returns:
            float64, shape (horizon, joints), horizon >= 1 [rad; m for carriages].

        Raises:
            BackendError: no actions, or of another shape, type or joint count, or not finite.
        """
        actions = answer.get("actions")
        joints = len(self.joint_names)
        if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "fiu":
            given = (
                f"{actions.dtype} array"
                if isinstance(actions, np.ndarray)
                else type(actions).__name__
            )
            raise BackendError(
                f"the answer needs a numeric array 'actions', got {given}; "
                f"its keys are {sorted(map(str, answer))}"
            )
        if actions.ndim != 2 or not actions.shape[0] or actions.shape[1] != joints:
            raise BackendError(
                f"the answer's actions must have shape (horizon >= 1, {joints}), got "
                f"{actions.shape}: is the server's policy one for these arms?"
            )
        if not np.isfinite(actions).all():
            row, column = np.argwhere(~np.isfinite(actions))[0]
            raise BackendError(
                f"the answer's actions must be finite, got {actions[row, column]} for "
                f"{self._wire_names[column]} in row {row}"
            )
        return select_joints(self._wire_names, actions, self.joint_names)

    def _image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.image_size is None:
            return image.transpose(2, 0, 1)
        fitted = resize_with_pad(image, self.image_size, self.image_size)
        return np.ascontiguousarray(fitted.transpose(2, 0, 1))
