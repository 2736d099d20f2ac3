"""One arm of the kit alone, on the whole stack."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fixtures.stacks import ARMS, PICTURES, OpenpiServer, started_stacks


@pytest.fixture
def start(tmp_path):
    with started_stacks(tmp_path) as run:
        yield run


@pytest.mark.timeout(180)
def test_one_arm_is_driven_alone_and_the_doctor_sees_it_run(start):
    target = [0.3, 1.2, 0.7, 0.4, 0.1, -0.2, 0.02]
    server = OpenpiServer(target)
    given = ["arm:=right", "backend:=openpi", f"policy_port:={server.port}"]
    doctor = [sys.executable, "-m", "trossen_pi0_bringup.doctor", "--json"]
    try:
        stack = start(*given, "max_duration_s:=20")
        stack.wait_for("arms executing")
        answer = subprocess.run(
            [*doctor, *ARMS, *PICTURES, *given],
            capture_output=True,
            text=True,
            timeout=60.0,
            env={**os.environ, "ROS_DOMAIN_ID": str(stack.domain)},
            check=False,
        )
        assert stack.wait(90) == 1, stack.text()  # nothing is handed over
    finally:
        server.close()
    request = server.requests[-1]
    assert sorted(request["images"]) == ["cam_high", "cam_low", "cam_right_wrist"]
    np.testing.assert_allclose(request["state"], target, atol=0.03)
    (episode,) = stack.summary()["episodes"]
    assert episode["outcome"] == "timeout"
    assert episode["controller"]["chunks_rejected"] == 0
    findings = {f["what"]: f for f in json.loads(answer.stdout)["findings"]}
    assert "arm left" not in findings
    assert findings["arm right"]["verdict"] == "SKIP"
    assert findings["arm right"]["found"].startswith("held by the node /arm_controller")
    assert "camera cam_left_wrist" not in findings
    assert findings["camera cam_right_wrist"]["verdict"] in ("OK", "WARN")  # a noisy machine
    assert findings["joint states"]["verdict"] in ("OK", "WARN")
    assert findings["policy server"]["verdict"] == "OK"
    assert "remap" not in answer.stderr  # the words are the doctor's, not ROS's
