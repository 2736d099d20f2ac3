"""Calls the recorder's services and follows its status; for the keyboard, the bench and tests."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_msgs.msg import RecorderStatus
from trossen_pi0_msgs.srv import FinishEpisode, StartEpisode
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.qos import STATUS


class EpisodeClient:
    """A recorder, as its operator sees it. Any one thread; callbacks run on one of their own."""

    def __init__(self, node: Node) -> None:
        """Runs the node's callbacks until ``close``."""
        self.status: RecorderStatus | None = None
        self._node = node
        self._start = node.create_client(StartEpisode, "/episodes/start")
        self._stop = node.create_client(FinishEpisode, "/episodes/stop")
        self._mark = node.create_client(FinishEpisode, "/episodes/mark")
        node.create_subscription(RecorderStatus, "/episodes/status", self._on_status, STATUS)
        self._callbacks = CallbackThread(node)
        self._callbacks.start()

    def close(self) -> None:
        """Ends the callbacks; the node is left to its owner."""
        self._callbacks.stop()

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Waits for the recorder; returns whether it is there."""
        deadline = time.monotonic() + timeout_s
        while not self.ready and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.ready

    @property
    def ready(self) -> bool:
        """Whether there is a recorder."""
        clients = (self._start, self._stop, self._mark)
        return self.status is not None and all(c.service_is_ready() for c in clients)

    def start(
        self, name: str = "", *, prompt: str = "", notes: str = "", seed: int = -1
    ) -> StartEpisode.Response:
        """Begins an episode; the answer says whether it was begun.

        Raises:
            EpisodeError: no recorder, or no answer.
        """
        request = StartEpisode.Request(name=name, prompt=prompt, notes=notes, seed=seed)
        return self._call(self._start, request, 10.0)

    def stop(
        self, outcome: str = "", *, notes: str = "", discard: bool = False
    ) -> FinishEpisode.Response:
        """Ends the episode under way, which may take as long as the disk is behind.

        Raises:
            EpisodeError: no recorder, or no answer.
        """
        request = FinishEpisode.Request(outcome=outcome, notes=notes, discard=discard)
        return self._call(self._stop, request, 60.0)

    def mark(
        self, outcome: str = "", *, notes: str = "", discard: bool = False
    ) -> FinishEpisode.Response:
        """Marks or deletes the episode that ended last.

        Raises:
            EpisodeError: no recorder, or no answer.
        """
        request = FinishEpisode.Request(outcome=outcome, notes=notes, discard=discard)
        return self._call(self._mark, request, 10.0)

    def _call(self, client: Any, request: Any, timeout_s: float) -> Any:
        if not client.service_is_ready():
            raise EpisodeError(
                f"there is no recorder ({client.srv_name}); start it with record:=true or "
                "`ros2 run trossen_pi0_data recorder_node`"
            )
        future = client.call_async(request)
        deadline = time.monotonic() + timeout_s
        while not future.done():
            if time.monotonic() > deadline:
                raise EpisodeError(f"no answer from {client.srv_name} within {timeout_s:g} s")
            time.sleep(0.01)
        return future.result()

    def _on_status(self, message: RecorderStatus) -> None:
        self.status = message
