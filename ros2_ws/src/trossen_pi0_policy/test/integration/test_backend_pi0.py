"""π0 in this process: from observations to rows, and what stops it from becoming ready."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from fixtures.checkpoints import PROMPT, SPREAD, STAGED_STATE, write_seeded_checkpoint
from trossen_pi0_core.contract import CAMERAS, ActionPrefix, Observation
from trossen_pi0_core.errors import BackendError, BackendUnavailableError, ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.openpi import AlohaLayout
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends import BackendContext, InferenceRequest, make_backend
from trossen_pi0_policy.backends.base import PrefixSupport
from trossen_pi0_policy.backends.pi0 import Pi0Backend
from trossen_pi0_policy.pi0 import policy as pi0_policy

JOINTS = JointMap()
PREFIX = np.tile(STAGED_STATE, (9, 1))
OPENING = pi0_policy.load_policy


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_seeded_checkpoint(tmp_path_factory.mktemp("tiny") / "5")


@pytest.fixture(scope="module")
def opened():
    """Policies by what they were opened with."""
    return {}


@pytest.fixture(autouse=True)
def load_policy(opened, monkeypatch):
    """Opens each checkpoint once only, since every policy is compiled anew."""

    def load(checkpoint, *words, **choices):
        key = (Path(checkpoint).resolve(), words, tuple(sorted(choices.items())))
        if key not in opened:
            opened[key] = OPENING(checkpoint, *words, **choices)
        return opened[key]

    monkeypatch.setattr(pi0_policy, "load_policy", load)


@pytest.fixture
def ready(checkpoint):
    """A backend that is ready."""
    backend = make(checkpoint)
    backend.prepare()
    return backend


def make(checkpoint, clock_ns=time.perf_counter_ns, **parameters):
    values = {
        "backend": "pi0",
        "checkpoint": str(checkpoint),
        "model_dtype": "float32",
        "flow_steps": 2,
        "compilation_cache": "",
        **parameters,
    }
    context = BackendContext(PolicyParameters(**values), clock_ns=clock_ns)
    backend = make_backend("pi0", context)
    assert isinstance(backend, Pi0Backend)
    return backend


def observation(joints=JOINTS, cameras=CAMERAS, **changes):
    rng = np.random.default_rng(1)
    images = {c: rng.integers(0, 256, (48, 64, 3), np.uint8) for c in cameras}
    values = {"state": STAGED_STATE + 0.1, "images": images, "prompt": PROMPT, **changes}
    return Observation(stamp_ns=1, joint_names=joints.urdf_names, **values)


def answer_of(policy, seed=4):
    """What the policy itself says to the observation."""
    policy.seed(seed)
    seen = observation()
    request = {"state": seen.state.astype(np.float32), "images": seen.images, "prompt": PROMPT}
    return policy.infer_one(request)["actions"]


def infer(backend, seed=4, prefix=None, **changes):
    backend.begin_run(PROMPT, seed)
    return backend.infer(InferenceRequest(observation(**changes), 33_333_333, prefix))


# Answers ------------------------------------------------------------------------------------------


def test_rows_are_those_of_the_policy_for_whole_pictures(ready, checkpoint):
    """Neither squashed nor padded twice: the transform gets what the camera gave."""
    rows = infer(ready).positions
    expected = answer_of(ready._policy)
    assert rows.shape == (50, 14)
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, expected)
    assert (np.abs(rows - STAGED_STATE) < 10 * SPREAD).all()
    assert rows.std() > 0.0


def test_the_vendors_client_is_imitated_on_whole_pictures(ready, checkpoint):
    squashing = make(checkpoint, reference_client_compat=True)
    squashing.prepare()
    rows = infer(squashing).positions
    np.testing.assert_array_equal(rows, answer_of(squashing._policy))
    assert (rows != infer(ready).positions).any()


def test_a_run_is_decided_by_its_seed(ready):
    first = infer(ready, seed=4).positions
    second = ready.infer(InferenceRequest(observation(), 33_333_333)).positions
    assert (first != second).any()
    np.testing.assert_array_equal(infer(ready, seed=4).positions, first)
    assert (infer(ready, seed=5).positions != first).any()


def test_prompt_state_and_pictures_are_seen(ready):
    rows = infer(ready).positions
    black = dict.fromkeys(CAMERAS, np.zeros((48, 64, 3), np.uint8))
    assert (infer(ready, prompt="wave").positions != rows).any()
    assert (infer(ready, state=STAGED_STATE).positions != rows).any()
    assert (infer(ready, images=black).positions != rows).any()


def test_the_camera_that_the_model_does_not_take_changes_nothing(ready):
    rows = infer(ready).positions
    without = tuple(camera for camera in CAMERAS if camera != "cam_low")
    images = {camera: observation().images[camera] for camera in without}
    np.testing.assert_array_equal(infer(ready, images=images).positions, rows)


def test_arms_in_another_order_get_their_own_columns(ready, checkpoint):
    joints = JointMap(("right", "left"), ("follower_right_", "follower_left_"))
    swapped = make(checkpoint, arms=joints.arms, urdf_prefixes=joints.urdf_prefixes)
    swapped.prepare()
    state = np.arange(14.0) / 20
    rows = infer(ready, state=state).positions
    turned = infer(swapped, joints=joints, state=np.roll(state, 7)).positions
    np.testing.assert_array_equal(turned, np.roll(rows, 7, axis=1))


def test_fitting_the_pictures_counts_as_preparation(checkpoint, monkeypatch):
    times = iter(range(0, 10_000, 10))
    backend = make(checkpoint, clock_ns=lambda: next(times))
    backend.prepare()
    assert infer(backend).preparation_ns == 10
    policy = backend._policy
    assert policy is not None
    monkeypatch.setattr(policy, "infer", lambda _: [{"actions": np.zeros((50, 14), np.float32)}])
    assert infer(backend).preparation_ns == 10


def test_answers_that_make_no_sense_are_refused(checkpoint, monkeypatch):
    backend = make(checkpoint)
    backend.prepare()
    monkeypatch.setattr(backend._policy, "infer", lambda _: [{"actions": np.zeros((50, 7))}])
    with pytest.raises(BackendError, match=r"must have shape \(horizon >= 1, 14\), got \(50, 7\)"):
        infer(backend)


def test_a_prefix_is_agreed_with_in_the_order_of_the_joints(checkpoint):
    """Arms of another order than the wire's: each column is the joint's own."""
    backwards = JointMap(arms=("right", "left"), urdf_prefixes=("right_", "left_"))
    columns = np.r_[7:14, 0:7]
    backend = make(checkpoint, arms=backwards.arms, urdf_prefixes=("right_", "left_"))
    assert backend.prefix_support is PrefixSupport.NONE
    backend.prepare()
    assert backend.prefix_support is PrefixSupport.GUIDED
    spread = SPREAD[columns]
    rows = (STAGED_STATE + SPREAD * np.linspace(-2.0, 2.0, 14))[columns] + np.zeros((9, 14))
    words = {"joints": backwards, "state": (STAGED_STATE + 0.1)[columns]}
    free = infer(backend, **words)
    bound = infer(backend, prefix=ActionPrefix(rows, 5), **words)
    assert (free.committed_rows, bound.committed_rows) == (0, 5)
    gaps = [(np.abs(found.positions[:5] - rows[:5]) / spread).mean() for found in (free, bound)]
    assert gaps[1] < 0.4 * gaps[0], gaps


# Becoming ready -----------------------------------------------------------------------------------


def test_everything_is_compiled_before_the_first_observation(checkpoint):
    compiled = []

    def listen(event, *_, **__):
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)  # cannot be taken back
    backend = make(checkpoint, flow_steps=3)
    backend.prepare()
    assert compiled
    compiled.clear()
    infer(backend)
    infer(backend, prefix=ActionPrefix(PREFIX, 3))
    assert compiled == []
    policy = backend._policy
    backend.prepare()
    assert backend._policy is policy


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"checkpoint": "nowhere/at/all"}, "nowhere/at/all does not exist"),
        ({"checkpoint": "."}, "holds no complete checkpoint"),
        ({"checkpoint": "s3://bucket/folder"}, "is neither a path on disk nor gs://bucket/path"),
        ({"model_config": "pi7"}, "config 'pi7' is not one of"),
        ({"model_config": "sim"}, "PaliGemma/"),
        ({"asset_id": "elsewhere"}, r"no norm stats of asset 'elsewhere', only of \['sim'\]"),
        ({"cameras": ("cam_low", "cam_left_wrist")}, "the model needs the camera 'cam_high'"),
    ],
)
def test_what_cannot_become_ready_says_why(checkpoint, tmp_path, monkeypatch, parameters, says):
    monkeypatch.chdir(tmp_path)
    backend = make(**{"checkpoint": checkpoint, **parameters})
    with pytest.raises(BackendError, match=says):
        backend.prepare()


def test_a_checkpoint_without_norm_stats_is_refused(tmp_path):
    backend = make(write_seeded_checkpoint(tmp_path / "5", norm_stats=False))
    with pytest.raises(BackendError, match=r"has no norm stats: expected .*/assets/"):
        backend.prepare()


def test_a_model_without_its_tokeniser_is_refused(tmp_path, checkpoint):
    missing = str(tmp_path / "no.model")
    backend = make(checkpoint, model_config="dummy", tokenizer_file=missing)
    with pytest.raises(BackendError, match=r"tokeniser .*no\.model"):
        backend.prepare()


def test_arms_of_another_size_are_refused_at_once():
    with pytest.raises(ParameterError, match=r"is for 14 joints, the arms \['left'\] have 7"):
        make("any", arms=("left",), urdf_prefixes=("left_",))


def test_a_wrist_camera_may_be_missing_and_is_named_once(checkpoint, caplog):
    backend = make(checkpoint, cameras=("cam_high", "cam_right_wrist"))
    backend.prepare()
    with caplog.at_level(logging.WARNING):
        backend._check_cameras(("cam_high", "cam_left_wrist"))
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        "the model also takes the cameras ['cam_left_wrist'], which the node does not have"
    ]
    assert infer(backend, cameras=("cam_high", "cam_right_wrist")).positions.shape == (50, 14)


def test_what_was_missing_is_found_once_it_is_there(checkpoint, tmp_path):
    backend = make(tmp_path / "5")
    with pytest.raises(BackendError):
        backend.prepare()
    (tmp_path / "5").symlink_to(checkpoint)
    backend.prepare()
    assert infer(backend).positions.shape == (50, 14)


def test_attempts_grow_rarer_and_end_when_interrupted(tmp_path, monkeypatch):
    backend = make(tmp_path / "5")
    waits = []
    with monkeypatch.context() as patched:
        patched.setattr(backend._interrupted, "wait", waits.append)
        for _ in range(8):
            with pytest.raises(BackendError):
                backend.prepare()
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    timer = threading.Timer(0.1, backend.interrupt)
    timer.start()
    began = time.monotonic()
    with pytest.raises(BackendUnavailableError, match="shut down"):
        backend.prepare()
    assert time.monotonic() - began < 5.0


def test_a_cache_folder_that_cannot_be_made_is_only_a_warning(checkpoint, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    backend = make(checkpoint, compilation_cache=str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        backend.prepare()
    assert "file/cache cannot be made" in caplog.text
    assert infer(backend).positions.shape == (50, 14)


def test_it_may_be_closed_before_it_was_ready():
    backend = make("any")
    backend.interrupt()
    backend.close()


def test_the_layout_hands_on_the_observations_own_pictures():
    seen = observation()
    request = AlohaLayout(JOINTS, None).request(seen)
    assert request["images"]["cam_high"].shape == (3, 48, 64)
    assert np.shares_memory(request["images"]["cam_high"], seen.images["cam_high"])
