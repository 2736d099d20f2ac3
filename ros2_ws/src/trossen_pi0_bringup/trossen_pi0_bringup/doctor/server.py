"""The policy: its server, or the processor that it runs on."""

from __future__ import annotations

import http.client
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from trossen_pi0_bringup.doctor.findings import Finding, fail, ok, skip, warn
from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.openpi import OpenpiClient, ServerConfig
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.serving.connection import HEALTH_PATH

_ANSWER_S = 3.0
_JAX_S = 20.0
_DEVICES = "import jax; print(*sorted({f'{d.platform}: {d.device_kind}' for d in jax.devices()}))"


def check_policy(policy: PolicyParameters | None) -> list[Finding]:
    """Whatever the backend needs."""
    if policy is None:
        return [skip("policy", "none is started: an operator leads the arms")]
    if policy.backend == "openpi":
        return check_server(policy)
    if policy.backend == "pi0":
        return [*_checkpoint(policy.checkpoint), *check_devices()]
    if policy.backend == "replay" and not Path(policy.replay_file).expanduser().is_file():
        return [fail("policy", f"there is no file {policy.replay_file}", "see replay_file")]
    return [ok("policy", f"backend {policy.backend!r} needs no server")]


def check_server(policy: PolicyParameters) -> list[Finding]:
    """Health, connection and metadata of a policy server."""
    what = "policy server"
    try:
        config = ServerConfig(
            policy.policy_host,
            policy.policy_port,
            policy.policy_api_key,
            connect_timeout_s=_ANSWER_S,
        )
        client = OpenpiClient(config)
    except BackendError as error:
        return [fail(what, str(error), "see policy_host and policy_port")]
    try:
        metadata = client.connect()
    except BackendError as error:
        return [fail(what, str(error), "`trossen-pi0 serve` starts one; see docs/pi0.md")]
    finally:
        client.close()
    told = ", ".join(f"{key} {value}" for key, value in sorted(metadata.items()) if _short(value))
    return [
        _health(client.url),
        ok(what, f"{client.url} shakes hands and says {told or 'nothing of itself'}"),
    ]


def check_devices() -> list[Finding]:
    """What JAX finds, asked in a process of its own: it takes most of a GPU's memory."""
    what = "GPU"
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _DEVICES],
            capture_output=True,
            text=True,
            timeout=_JAX_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [fail(what, f"JAX does not start within {_JAX_S:g} s")]
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        return [fail(what, f"JAX does not start: {reason}", "`pip install 'jax[cuda13]'`")]
    devices = answer.stdout.strip()
    if devices.startswith("cpu"):
        return [warn(what, f"JAX has {devices}", "π0 takes seconds on a CPU: use a server")]
    return [ok(what, f"JAX has {devices}")]


def _checkpoint(where: str) -> list[Finding]:
    if where.startswith("shipped://"):
        from trossen_pi0_policy.checkpoints import DownloadError, fetch

        try:
            return [ok("checkpoint", str(fetch(where)))]
        except DownloadError as error:
            return [fail("checkpoint", str(error), "see checkpoint")]
    if "://" in where:
        return [skip("checkpoint", f"{where} is not downloaded here")]
    folder = Path(where).expanduser()
    if not (folder / "params").is_dir():
        return [fail("checkpoint", f"there is no {folder / 'params'}", "see checkpoint")]
    return [ok("checkpoint", str(folder))]


def _health(url: str) -> Finding:
    """``GET`` of the health path, which openpi's servers answer and a proxy may not."""
    what, parts = "policy server health", urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "wss" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", HEALTH_PATH)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return warn(what, f"no answer on {HEALTH_PATH}: {error}")
    finally:
        connection.close()
    if status != http.client.OK:
        return warn(what, f"{HEALTH_PATH} answers {status}")
    return ok(what, f"{HEALTH_PATH} answers 200")


def _short(value: object) -> bool:
    return isinstance(value, (str, int, float, bool)) and len(str(value)) < 60
