"""Prefixes over the wire: to servers that know them, and never to others."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.contract import ActionPrefix, Observation
from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.openpi import packb
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends import BackendContext, InferenceRequest, make_backend
from trossen_pi0_policy.backends.base import PrefixSupport

JOINTS = JointMap(arms=("right", "left"), urdf_prefixes=("right_", "left_"))
"""The other way round than on the wire."""

ROWS = np.arange(8 * 14.0).reshape(8, 14) / 100
WIRE_ROWS = np.concatenate([ROWS[:, 7:], ROWS[:, :7]], axis=1)
REQUEST = InferenceRequest(
    Observation(
        stamp_ns=1,
        joint_names=JOINTS.urdf_names,
        state=np.arange(14.0) / 10,
        images={"cam_high": np.zeros((48, 64, 3), np.uint8)},
        prompt="grab the cube",
    ),
    33_333_333,
    ActionPrefix(ROWS, 3),
)


@pytest.fixture
def backend(policy_server):
    made = make_backend(
        "openpi",
        BackendContext(
            PolicyParameters(
                backend="openpi",
                policy_port=policy_server.port,
                arms=JOINTS.arms,
                urdf_prefixes=("right_", "left_"),
                connect_timeout_s=2.0,
                inference_timeout_s=2.0,
            )
        ),
    )
    yield made
    made.close()


def agree(rows):
    """Answers as a server of the suite: so many rows are those of the prefix."""

    def answer(request):
        actions = np.tile(np.asarray(request["state"], np.float32), (50, 1))
        if "rtc" in request:
            actions[:3] = request["rtc"]["prefix"][:3]
            return {"actions": actions, "committed_rows": rows}
        return {"actions": actions}

    return answer


@pytest.mark.parametrize(
    ("told", "support"),
    [
        ("guided", PrefixSupport.GUIDED),
        ("conditioned", PrefixSupport.CONDITIONED),
    ],
)
def test_a_server_that_knows_prefixes_gets_them(policy_server, backend, told, support):
    policy_server.metadata = packb({"rtc": told})
    policy_server.answer = agree(3)
    assert backend.prefix_support is PrefixSupport.NONE
    backend.prepare()
    assert backend.prefix_support is support
    found = backend.infer(REQUEST)
    assert found.committed_rows == 3
    np.testing.assert_allclose(found.positions[:3], ROWS[:3], rtol=0, atol=1e-6)
    sent = policy_server.requests[-1]["rtc"]
    assert set(sent) == {"prefix", "frozen"}
    np.testing.assert_array_equal(sent["prefix"], WIRE_ROWS)
    assert sent["frozen"] == 3
    free = InferenceRequest(REQUEST.observation, REQUEST.period_ns)
    assert backend.infer(free).committed_rows == 0
    assert "rtc" not in policy_server.requests[-1]


@pytest.mark.parametrize(
    "metadata", [{}, {"robot": "aloha"}, {"rtc": "none"}, {"rtc": True}, {"rtc": "other"}]
)
def test_other_servers_never_see_one(policy_server, backend, metadata):
    policy_server.metadata = packb(metadata)
    backend.prepare()
    assert backend.prefix_support is PrefixSupport.NONE
    assert backend.infer(REQUEST).committed_rows == 0
    assert [set(request) for request in policy_server.requests] == [
        {"state", "images", "prompt"}
    ] * 2


def test_a_plain_server_in_its_place_sees_none_either(policy_server, backend):
    """The connection is made anew within the question, whose prefix was meant for the other."""
    policy_server.metadata = packb({"rtc": "guided"})
    policy_server.answer = agree(3)
    backend.prepare()
    policy_server.stop()
    policy_server.metadata = packb({})
    policy_server.start()
    assert backend.infer(REQUEST).committed_rows == 0
    assert policy_server.connections == 2
    assert "rtc" not in policy_server.requests[-1]
    assert backend.prefix_support is PrefixSupport.NONE


@pytest.mark.parametrize("rows", [-1, 51, 1.5, True, "all"])
def test_rows_that_cannot_have_been_committed_are_refused(policy_server, backend, rows):
    policy_server.metadata = packb({"rtc": "guided"})
    policy_server.answer = agree(rows)
    backend.prepare()
    with pytest.raises(BackendError, match="'committed_rows' must be a whole number from 0 to 50"):
        backend.infer(REQUEST)
