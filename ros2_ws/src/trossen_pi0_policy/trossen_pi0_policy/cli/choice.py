"""Which policy a command judges: a checkpoint that is run, or a server that is asked."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trossen_pi0_core.images import POLICY_IMAGE_SIZE
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.cli import arguments as common
from trossen_pi0_policy.serving.access import read_api_key


@dataclass(frozen=True)
class PolicyChoice:
    """Which policy, and how it is asked.

    Attributes:
        checkpoint: folder or URL; empty: a server is asked.
        server: ``ws://host:port`` of an openpi-compatible server; empty: a checkpoint is run.
        config: model preset; empty: the one the checkpoint names.
        dtype: type of the computation.
        steps: flow steps.
        tokenizer: PaliGemma's SentencePiece model; None: from the cache or a download.
        asset_id: of the norm stats; empty: the only ones.
        reference_client_compat: pictures as the vendor's client spoils them.
        compilation_cache: folder for compiled programs; None: none.
        api_key_file: holds the server's key; None: the environment may have it.
        image_size: edge of the pictures that a server is sent [pixels]; 0: as they come.
        timeout_s: longest wait for an answer of a server [s].
    """

    checkpoint: str = ""
    server: str = ""
    config: str = ""
    dtype: str = "auto"
    steps: int = PolicyParameters().flow_steps
    tokenizer: Path | None = None
    asset_id: str = ""
    reference_client_compat: bool = False
    compilation_cache: Path | None = None
    api_key_file: Path | None = None
    image_size: int = POLICY_IMAGE_SIZE[0]
    timeout_s: float = 60.0

    def parameters(self, usual: PolicyParameters) -> PolicyParameters:
        """Parameters of the node that would run it.

        Args:
            usual: all that does not depend on the choice.

        Raises:
            ParameterError: values that a node does not take, or no readable API key.
        """
        if self.server:
            return dataclasses.replace(
                usual,
                backend="openpi",
                policy_host=self.server,
                policy_api_key=read_api_key(self.api_key_file, os.environ),
                image_size=self.image_size,
                inference_timeout_s=self.timeout_s,
                warmup_timeout_s=max(usual.warmup_timeout_s, self.timeout_s),
            )
        return dataclasses.replace(
            usual,
            backend="pi0",
            checkpoint=self.checkpoint,
            model_config=self.config,
            model_dtype=self.dtype,
            flow_steps=self.steps,
            tokenizer_file=str(self.tokenizer or ""),
            asset_id=self.asset_id,
            reference_client_compat=self.reference_client_compat,
            compilation_cache=str(self.compilation_cache or ""),
        )


def add_choice(parser: argparse.ArgumentParser) -> Any:
    """Adds the arguments; returns the group of those of which one must be given."""
    policy = parser.add_mutually_exclusive_group(required=True)
    common.add_checkpoint(policy)
    policy.add_argument("--server", metavar="URL", help="openpi-compatible server, ws://host:port")
    common.add_config(parser)
    common.add_sampling(parser, dtype="auto")
    common.add_prompts(parser)
    add = parser.add_argument
    add("--api-key-file", type=common.existing_file, metavar="FILE",
        help="file with the server's API key; else TROSSEN_PI0_API_KEY")  # fmt: skip
    add("--image-size", type=common.whole_number(0, 1024), default=POLICY_IMAGE_SIZE[0],
        metavar="N", help="edge of the pictures that a server is sent, 0: as they come "
        "(default: %(default)s)")  # fmt: skip
    add("--timeout", dest="timeout_s", type=common.number(0.1, 600.0, "s"), default=60.0,
        metavar="S", help="longest wait for a server's answer (default: %(default)g)")  # fmt: skip
    return policy


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a ``PolicyChoice`` among the arguments that were given."""
    fields = {field.name: given[field.name] for field in dataclasses.fields(PolicyChoice)}
    texts = ("checkpoint", "server", "config", "asset_id")
    return {name: value or "" if name in texts else value for name, value in fields.items()}
