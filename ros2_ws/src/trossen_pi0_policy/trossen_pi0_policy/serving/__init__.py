"""Policy server: answers openpi's websocket protocol with any policy in this process."""

from trossen_pi0_policy.serving.access import read_api_key
from trossen_pi0_policy.serving.listening import ServeError
from trossen_pi0_policy.serving.options import ServerOptions
from trossen_pi0_policy.serving.policy import ServedPolicy
from trossen_pi0_policy.serving.server import PolicyServer

__all__ = ["PolicyServer", "ServeError", "ServedPolicy", "ServerOptions", "read_api_key"]
