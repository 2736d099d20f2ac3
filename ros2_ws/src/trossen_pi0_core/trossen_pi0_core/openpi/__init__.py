"""openpi's policy protocol: wire format, client, and the ALOHA layout of its messages."""

from trossen_pi0_core.openpi.aloha import AlohaLayout
from trossen_pi0_core.openpi.client import OpenpiClient, ServerConfig
from trossen_pi0_core.openpi.wire import WireFormatError, packb, unpackb

__all__ = ["AlohaLayout", "OpenpiClient", "ServerConfig", "WireFormatError", "packb", "unpackb"]
