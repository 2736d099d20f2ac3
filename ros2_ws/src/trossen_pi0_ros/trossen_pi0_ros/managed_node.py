"""Base of the suite's lifecycle nodes."""

from __future__ import annotations

import functools
import threading
import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from typing_extensions import override

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.signals import SignalFlag


class ManagedNode(LifecycleNode):
    """A lifecycle node whose transitions log why they fail and which can start by itself.

    Subclasses implement ``configure``, ``activate``, ``deactivate`` and ``cleanup``. They raise
    to refuse a transition; ``deactivate`` must also work half way through a failed ``activate``,
    and ``cleanup`` half way through a failed ``configure``.

    Attributes:
        active: between ``activate`` and ``deactivate``.
        stopping: set when the process shall end; a long wait in a transition ends then.
        hurry: set when it shall end at once, by a second signal: what is optional is left out.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.active = False
        self.stopping = threading.Event()
        self.hurry = SignalFlag()
        for service in self.services:
            if service.srv_name.endswith("/change_state"):
                change: Callable[..., Any] = service.callback
                guarded: Any = functools.partial(self._change_state, change)
                service.callback = guarded

    def _change_state(
        self,
        change: Callable[..., Any],
        request: ChangeState.Request,
        response: ChangeState.Response,
    ) -> ChangeState.Response:
        """Refuses a transition that the present state does not have; rclpy would end the node."""
        try:
            return change(request, response)
        except RuntimeError as error:
            transition = request.transition.label or request.transition.id
            self.get_logger().error(f"transition {transition!r} is not possible now: {error}")
            response.success = False
            return response

    @property
    def wants_autostart(self) -> bool:
        """Whether ``run_node`` shall configure and activate the node."""
        return False

    def configure(self) -> None:
        """Acquires what the node needs."""

    def activate(self) -> None:
        """Begins to work."""

    def deactivate(self) -> None:
        """Stops working and keeps what it has acquired."""

    def wind_down(self) -> None:
        """Last work at the end of the process, while callbacks still run; on the main thread.

        ``close`` follows. Called only while the node is active.
        """

    def cleanup(self) -> None:
        """Releases everything; does nothing when there is nothing."""

    def autostart(self) -> bool:
        """Configures and activates; returns whether both went well."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def close(self) -> None:
        """Stops and releases everything, for the end of the process."""
        for label, step in (("deactivate", self._stop), ("cleanup", self.cleanup)):
            self._attempt(label, step)

    def _stop(self) -> None:
        if self.active:
            self.active = False
            self.deactivate()

    def _attempt(self, label: str, step: Callable[[], None]) -> bool:
        try:
            step()
        except TrossenPi0Error as error:
            self.get_logger().error(f"{label}: {error}")
        except Exception as error:  # noqa: BLE001 - rclpy would drop it without a word
            self.get_logger().error(f"{label}: {error!r}\n{traceback.format_exc()}")
        else:
            return True
        return False

    @override
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self._attempt("configure", self.configure):
            return super().on_configure(state)
        self._attempt("cleanup", self.cleanup)
        return TransitionCallbackReturn.FAILURE

    @override
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        if result == TransitionCallbackReturn.SUCCESS and self._attempt("activate", self.activate):
            self.active = True
            return result
        self._attempt("deactivate", self.deactivate)
        super().on_deactivate(state)
        return TransitionCallbackReturn.FAILURE

    @override
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._leave(
            "deactivate", self._stop, functools.partial(super().on_deactivate, state)
        )

    @override
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._leave("cleanup", self.cleanup, functools.partial(super().on_cleanup, state))

    @override
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return super().on_shutdown(state)

    @override
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def _leave(
        self, label: str, step: Callable[[], None], then: Callable[[], TransitionCallbackReturn]
    ) -> TransitionCallbackReturn:
        if not self._attempt(label, step):
            return TransitionCallbackReturn.ERROR
        return then()
