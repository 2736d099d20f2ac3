"""π0 as a policy: which model a checkpoint gives, batches, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fixtures.checkpoints import PROMPT, SPREAD, STAGED_STATE, write_seeded_checkpoint
from peers.parameter_recipe import seeded_parameters
from trossen_pi0_core.errors import BackendError, ObservationError, ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.transforms import NormStats
from trossen_pi0_policy.checkpoints import (
    CheckpointError,
    CheckpointMismatchError,
    write_checkpoint,
)
from trossen_pi0_policy.pi0.config import config_to_dict, get_config, with_cameras
from trossen_pi0_policy.pi0.parameters import openpi_shapes
from trossen_pi0_policy.pi0.policy import load_policy

ASSET = "lab/handover"
TOKENIZER = Path(__file__).parents[3] / "trossen_pi0_core/test/data/tiny_tokenizer.model"
CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist", "cam_low")
NAMES = list(JointMap().dataset_names)


def write(folder, config, *, metadata=None, damage=None):
    parameters = seeded_parameters(openpi_shapes(config), 4)
    if damage:
        parameters[damage] = np.full_like(parameters[damage], np.nan)
    stats = NormStats(
        mean=STAGED_STATE, std=SPREAD, q01=STAGED_STATE - SPREAD, q99=STAGED_STATE + SPREAD
    )
    return write_checkpoint(
        folder,
        parameters,
        norm_stats={"state": stats, "actions": stats},
        asset_id=ASSET,
        metadata=metadata or {},
    )


def request(seed, cameras=CAMERAS[:3]):
    rng = np.random.default_rng(seed)
    return {
        "state": STAGED_STATE.astype(np.float32),
        "images": {c: rng.integers(0, 256, (3, 60, 80), np.uint8) for c in cameras},
        "prompt": PROMPT,
    }


def noise(seed):
    return np.random.default_rng(seed).standard_normal((50, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = write_seeded_checkpoint(tmp_path_factory.mktemp("tiny") / "1000")
    return load_policy(folder, max_batch=4)


def test_a_batch_is_answered_like_each_alone(policy):
    prepared = [policy.prepare(request(seed)) for seed in range(3)]
    policy.seed(7)
    together = policy.infer(prepared)
    policy.seed(7)
    alone = [policy.infer([each])[0] for each in prepared]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a["actions"], b["actions"], rtol=0, atol=1e-5)
    assert not np.allclose(together[0]["actions"], together[1]["actions"], atol=1e-4)


def with_prefix(seed, rows, frozen):
    return {**request(seed), "rtc": {"prefix": rows, "frozen": frozen}}


def smooth_rows(count):
    return STAGED_STATE + SPREAD * np.linspace(-1.0, 1.0, count)[:, None]


def test_observations_with_and_without_a_prefix_are_answered_in_one_call(policy):
    rows = smooth_rows(60)  # more than the horizon
    requests = [request(0), with_prefix(1, rows, 9), request(2), with_prefix(3, rows[:4], 0)]
    prepared = [policy.prepare(each) for each in requests]
    policy.seed(7)
    together = policy.infer(prepared)
    policy.seed(7)
    alone = [policy.infer([each])[0] for each in prepared]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a["actions"], b["actions"], rtol=0, atol=1e-4)
    committed = [answer.get("committed_rows") for answer in together]
    assert committed == [None, 9, None, 0]
    policy.seed(7)
    free = policy.infer([policy.prepare(request(seed)) for seed in range(4)])
    gap_free, gap_bound = (
        (np.abs(answers[1]["actions"][:9] - rows[:9]) / SPREAD).mean()
        for answers in (free, together)
    )
    assert gap_bound < 0.1 * gap_free, (gap_free, gap_bound)
    assert np.abs(together[3]["actions"][:2] - free[3]["actions"][:2]).max() > 1e-4


@pytest.mark.parametrize(
    ("rows", "frozen", "says"),
    [
        (smooth_rows(4), 5, r"frozen must lie in 0\.\.4, .* got 5"),
        (smooth_rows(60), 51, r"'frozen' in 'rtc' must be at most 50, .* got 51"),
        (smooth_rows(4)[:, :7], 1, r"shape \(rows >= 1, 14\), got float64 of shape \(4, 7\)"),
        (smooth_rows(4) * np.nan, 1, "must be finite"),
    ],
)
def test_prefixes_that_make_no_sense_are_refused(policy, rows, frozen, says):
    with pytest.raises(ObservationError, match=says):
        policy.prepare(with_prefix(0, rows, frozen))


def test_a_policy_without_prefixes_refuses_them(tmp_path):
    found = load_policy(write(tmp_path / "1", get_config("tiny")), rtc="none")
    assert "rtc" not in found.metadata
    with pytest.raises(ObservationError, match="takes no prefix"):
        found.prepare(with_prefix(0, smooth_rows(4), 1))


def test_a_checkpoint_says_whether_it_was_trained_with_clean_prefixes(tmp_path, caplog):
    """Frozen rows come out as they went in, joints relative to the state included."""
    trained = {"prefix_conditioned": True, "delta_mask": [True] * 6 + [False] + [True] * 6}
    folder = write(tmp_path / "1", get_config("tiny"), metadata=trained)
    found = load_policy(folder)
    assert found.metadata["rtc"] == "conditioned"
    rows = smooth_rows(10)
    answer = found.infer_one(with_prefix(0, rows, 4), noise=noise(0))
    assert answer["committed_rows"] == 4
    np.testing.assert_allclose(answer["actions"][:4], rows[:4], rtol=0, atol=1e-6)
    assert np.abs(answer["actions"][4:10] - rows[4:]).max() > 1e-3
    assert load_policy(folder, rtc="guided").metadata["rtc"] == "guided"
    assert not caplog.text
    other = write(tmp_path / "2", get_config("tiny"), metadata={"prefix_conditioned": False})
    assert load_policy(other).metadata["rtc"] == "guided"
    assert load_policy(other, rtc="conditioned").metadata["rtc"] == "conditioned"
    assert "does not say that it was trained with clean prefixes" in caplog.text
    odd = write(tmp_path / "3", get_config("tiny"), metadata={"prefix_conditioned": "yes"})
    with pytest.raises(
        CheckpointError, match="prefix_conditioned must be true or false, got 'yes'"
    ):
        load_policy(odd)


@pytest.mark.parametrize("count", [0, 5])
def test_a_batch_has_a_size_that_was_compiled(policy, count):
    prepared = [policy.prepare(request(0))] * count
    with pytest.raises(BackendError, match=f"1 to 4 entries, got {count}"):
        policy.infer(prepared)


def test_the_seed_decides_about_the_noise(policy):
    answers = []
    for seed in (1, 1, 2):
        policy.seed(seed)
        answers.append(policy.infer_one(request(0))["actions"])
    assert np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_noise_of_another_shape_is_refused(policy):
    with pytest.raises(ObservationError, match=r"noise must have shape \(50, 32\), got \(49, 32\)"):
        policy.infer_one(request(0), noise=noise(0)[1:])


def test_a_cpu_computes_in_float32_unless_told(policy, tmp_path):
    folder = write_seeded_checkpoint(tmp_path / "1000")
    expected = policy.infer_one(request(0), noise=noise(0))["actions"]
    full = load_policy(folder, dtype="float32").infer_one(request(0), noise=noise(0))["actions"]
    half = load_policy(folder, dtype="bfloat16").infer_one(request(0), noise=noise(0))["actions"]
    np.testing.assert_allclose(expected, full, rtol=0, atol=1e-6)
    assert not np.allclose(expected, half, rtol=0, atol=1e-6)


def test_parameters_alone_say_which_config_they_are_of(tmp_path):
    found = load_policy(write(tmp_path / "1", get_config("tiny")))
    assert found.config == get_config("tiny")
    assert found.metadata == {
        "config": "tiny",
        "action_horizon": 50,
        "cameras": ["cam_high", "cam_left_wrist", "cam_right_wrist"],
        "image_size": 56,
        "rtc": "guided",
    }


def test_parameters_that_fit_nothing_are_refused(tmp_path):
    odd = replace(get_config("tiny"), action_dim=31)
    folder = write(tmp_path / "1", odd)
    with pytest.raises(CheckpointMismatchError, match="fit none of the configs"):
        load_policy(folder)
    with pytest.raises(CheckpointMismatchError, match=r"action_in_proj/kernel.*\(32, 32\)"):
        load_policy(folder, "tiny")


def test_a_checkpoint_may_describe_its_own_config(tmp_path):
    own = replace(with_cameras(get_config("tiny"), 4), action_horizon=20, max_token_len=60)
    metadata = {
        "config": config_to_dict(own),
        "config_name": "mine",
        "policy_metadata": {"reset_pose": [0.0]},
        "prompt": PROMPT,
    }
    found = load_policy(write(tmp_path / "1", own, metadata=metadata))
    assert found.config == own
    assert found.metadata["config"] == "mine"
    assert found.metadata["reset_pose"] == [0.0]
    given = request(0, CAMERAS)
    del given["prompt"]  # the checkpoint's is taken
    start = noise(0)[:20]
    answer = found.infer_one(given, noise=start)["actions"]
    assert answer.shape == (20, 14)
    other = {**given, "images": {**given["images"], "cam_low": np.zeros((3, 60, 80), np.uint8)}}
    assert not np.array_equal(answer, found.infer_one(other, noise=start)["actions"])


def test_a_damaged_description_is_refused(tmp_path):
    values = config_to_dict(get_config("tiny"))
    del values["vision"]
    folder = write(tmp_path / "1", get_config("tiny"), metadata={"config": values})
    with pytest.raises(ParameterError, match="config is incomplete: 'vision'"):
        load_policy(folder)


def test_actions_that_are_no_numbers_are_not_handed_out(tmp_path):
    folder = write(tmp_path / "1", get_config("tiny"), damage="action_out_proj/bias")
    with pytest.raises(BackendError, match="not finite"):
        load_policy(folder).infer_one(request(0))


def test_the_tokeniser_of_another_model_is_refused(tmp_path):
    own = replace(get_config("tiny"), tokenizer="paligemma", vocab_size=100)
    folder = write(tmp_path / "1", own, metadata={"config": config_to_dict(own)})
    with pytest.raises(ParameterError, match=r"the tokeniser has \d+ tokens, the model knows 100"):
        load_policy(folder, tokenizer_file=TOKENIZER)
    larger = replace(own, vocab_size=2000)
    folder = write(tmp_path / "2", larger, metadata={"config": config_to_dict(larger)})
    found = load_policy(folder, tokenizer_file=TOKENIZER)
    assert found.infer_one(request(0))["actions"].shape == (50, 14)


def test_joints_in_another_order_are_served_by_name(tmp_path):
    swapped = [*NAMES[7:], *NAMES[:7]]
    mixed = [NAMES[i] for i in np.random.default_rng(0).permutation(14)]
    delta = {"delta_mask": [True] * 5 + [False]}

    def served(number, **told):
        metadata = {**delta, "policy_metadata": told}
        return load_policy(write(tmp_path / str(number), get_config("tiny"), metadata=metadata))

    plain = served(0)
    state = STAGED_STATE + np.linspace(-0.4, 0.4, 14)
    rows = smooth_rows(6) + np.linspace(-0.3, 0.3, 14)

    def asked(order):
        rtc = {"prefix": rows[:, order], "frozen": 2}
        given = {**request(0), "state": state[order], "rtc": rtc}
        without = {key: value for key, value in given.items() if key != "rtc"}
        return given, without

    same = list(range(14))
    for number, order in ((1, NAMES), (2, swapped), (3, [n.removesuffix(".pos") for n in mixed])):
        policy = served(number, joints=order)
        places = [NAMES.index(f"{name.removesuffix('.pos')}.pos") for name in order]
        for ours, theirs in zip(asked(same), asked(places), strict=True):
            wanted = plain.infer_one(theirs, noise=noise(0))["actions"]
            found = policy.infer_one(ours, noise=noise(0))["actions"]
            np.testing.assert_array_equal(found[:, places], wanted)
        assert policy.metadata["joints"] == NAMES
    with pytest.raises(ObservationError, match=r"'state' must be 14 numbers, got .*\(7,\)"):
        policy.prepare({**request(0), "state": state[:7]})


@pytest.mark.parametrize(
    ("joints", "says"),
    [
        (
            NAMES[:7],
            r"missing \['right_joint_0'.*its joints are \['left_joint_0.pos'",
        ),
        ([*NAMES[:13], "gripper"], r"not the kit's \['gripper'\]"),
        ([*NAMES, NAMES[0]], r"named more than once \['left_joint_0'\]"),
        ("left", "must be a list of names, got 'left'"),
        ([*NAMES[:13], 7], r"must be a list of names, got \['left_joint_0.pos'"),
    ],
)
def test_joints_that_are_not_the_kits_are_refused(tmp_path, joints, says):
    metadata = {"policy_metadata": {"joints": joints}}
    folder = write(tmp_path / "1", get_config("tiny"), metadata=metadata)
    with pytest.raises(CheckpointError, match=says):
        load_policy(folder)
