"""Requests become what openpi's own transforms make of them, and answers joint targets.

``openpi_transforms.npz`` holds requests, statistics and what openpi's transforms, composed as its
``create_trained_policy`` does for an ALOHA data set without ``adapt_to_pi``, make of them with the
tokeniser of ``make_tokenizer.py`` and pictures of 20 x 20.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trossen_pi0_core.errors import (
    BackendError,
    ImageError,
    NormStatsError,
    ObservationError,
    ParameterError,
)
from trossen_pi0_core.images import resize_with_pad
from trossen_pi0_core.transforms import (
    ByteTokenizer,
    ModelInputs,
    NormStats,
    PolicyTransform,
    SentencePieceTokenizer,
    TransformConfig,
    mask_from_runs,
)

DATA = Path(__file__).parents[1] / "data"
DELTA = mask_from_runs(6, -1, 6, -1)
GOLDEN_CONFIGS = {
    "pi0": TransformConfig(image_size=20),
    "pi0_delta": TransformConfig(
        image_size=20, delta_mask=DELTA, default_prompt="pick_up the blue brick"
    ),
    "pi05": TransformConfig(
        image_size=20,
        max_token_len=200,
        quantiles=True,
        discrete_state=True,
        default_prompt="unused",
    ),
    "pi05_delta": TransformConfig(
        image_size=20, max_token_len=120, quantiles=True, discrete_state=True, delta_mask=DELTA
    ),
}

STATS = NormStats(np.zeros(14), np.ones(14), np.full(14, -1.0), np.full(14, 1.0))
SMALL = TransformConfig(image_size=8, max_token_len=12)


def golden(case: str) -> dict[str, NDArray[Any]]:
    arrays = np.load(DATA / "openpi_transforms.npz")
    return {k.removeprefix(f"{case}/"): arrays[k] for k in arrays if k.startswith(f"{case}/")}


def part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def golden_transform(case: str) -> tuple[PolicyTransform, dict[str, Any], dict[str, NDArray[Any]]]:
    """The transform, the request, and openpi's results of a case."""
    arrays = golden(case)
    stats = {name: NormStats(**part(arrays, f"stats/{name}/")) for name in ("state", "actions")}
    tokenizer = SentencePieceTokenizer(DATA / "tiny_tokenizer.model")
    request: dict[str, Any] = {
        "state": arrays["request/state"],
        "images": part(arrays, "request/images/"),
    }
    if "request/prompt" in arrays:
        request["prompt"] = str(arrays["request/prompt"])
    return PolicyTransform(GOLDEN_CONFIGS[case], stats, tokenizer), request, arrays


def transform(config: TransformConfig = SMALL, **stats: NormStats) -> PolicyTransform:
    return PolicyTransform(config, {"state": STATS, "actions": STATS, **stats}, ByteTokenizer())


def picture(value: int = 7, height: int = 6, width: int = 8) -> NDArray[np.uint8]:
    return np.full((3, height, width), value, np.uint8)


def request(**changes: Any) -> dict[str, Any]:
    """A valid request with changes; a part that is None is left out."""
    cameras = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
    parts = {
        "state": np.zeros(14, np.float32),
        "images": {camera: picture(i + 1) for i, camera in enumerate(cameras)},
        "prompt": "grab it",
    }
    return {k: v for k, v in {**parts, **changes}.items() if v is not None}


def with_picture(image: Any) -> dict[str, Any]:
    return request(images={"cam_high": image})


@pytest.mark.parametrize("case", GOLDEN_CONFIGS)
def test_inputs_are_openpi_s_to_the_last_bit(case: str) -> None:
    transform, request, arrays = golden_transform(case)
    inputs = transform.inputs(request)
    expected = part(arrays, "inputs/")
    assert set(expected) == set(vars(inputs))
    for name, array in vars(inputs).items():
        assert array.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("case", GOLDEN_CONFIGS)
def test_outputs_are_openpi_s_to_the_last_bit(case: str) -> None:
    transform, request, arrays = golden_transform(case)
    targets = transform.outputs(arrays["outputs/actions"], request)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, arrays["outputs/expected"])


@pytest.mark.parametrize("case", GOLDEN_CONFIGS)
def test_training_actions_are_openpi_s_to_the_last_bit(case: str) -> None:
    transform, request, arrays = golden_transform(case)
    actions = transform.training_actions(arrays["training/actions"], request["state"])
    assert actions.dtype == np.float32
    np.testing.assert_array_equal(actions, arrays["training/expected"])


@pytest.mark.parametrize("case", GOLDEN_CONFIGS)
def test_training_actions_of_a_batch_are_those_of_each(case: str) -> None:
    transform, request, arrays = golden_transform(case)
    chunks = np.stack([arrays["training/actions"] * scale for scale in (1.0, 0.5)])
    states = np.stack([request["state"] * scale for scale in (1.0, -1.0)])
    both = transform.training_actions(chunks, states)
    for actions, chunk, state in zip(both, chunks, states, strict=True):
        np.testing.assert_array_equal(actions, transform.training_actions(chunk, state))


def test_openpi_s_cases_cover_what_differs() -> None:
    pi0, pi0_delta, pi05 = (golden(case) for case in ("pi0", "pi0_delta", "pi05"))
    assert "request/images/cam_low" in pi0
    assert "request/prompt" not in pi0_delta
    assert pi0_delta["request/images/cam_right_wrist"].dtype == np.float32
    assert pi0_delta["inputs/image_mask"].tolist() == [True, False, True]
    assert pi0_delta["stats/state/mean"].shape == (32,)
    assert (np.abs(pi05["inputs/state"][:14]) > 1).any()


@pytest.mark.parametrize("case", GOLDEN_CONFIGS)
def test_outputs_undo_training_actions(case: str) -> None:
    transform, request, arrays = golden_transform(case)
    actions = arrays["training/actions"]
    there = transform.training_actions(actions, request["state"])
    assert there.shape == (len(actions), 32)
    np.testing.assert_allclose(transform.outputs(there, request), actions, atol=1e-5)


def test_nothing_of_the_caller_s_is_edited_or_kept() -> None:
    transform, request, arrays = golden_transform("pi05_delta")
    before, actions = copy.deepcopy(request), arrays["outputs/actions"].copy()
    for array in (request["state"], actions, *request["images"].values()):
        array.flags.writeable = False
    inputs = transform.inputs(request)
    transform.outputs(actions, request)
    np.testing.assert_array_equal(actions, arrays["outputs/actions"])
    np.testing.assert_equal(request, before)
    for array in vars(inputs).values():
        assert array.flags.writeable
        assert not any(np.shares_memory(array, given) for given in request["images"].values())


def test_cameras_come_in_the_model_s_order_whatever_the_request_s() -> None:
    inputs = transform().inputs(request())
    assert inputs.images[:, 4, 4, 0].tolist() == [1, 3, 4]
    assert inputs.image_mask.tolist() == [True, True, True]
    images = dict(reversed(request()["images"].items()))
    assert transform().inputs(request(images=images)).images[:, 4, 4, 0].tolist() == [1, 3, 4]


def test_a_model_with_four_cameras_takes_all() -> None:
    cameras = (*SMALL.cameras, ("cam_low", "base_1_rgb"))
    config = TransformConfig(cameras=cameras, image_size=8)
    assert transform(config).inputs(request()).images[:, 4, 4, 0].tolist() == [1, 3, 4, 2]


def test_a_camera_that_only_the_model_knows_is_accepted() -> None:
    config = TransformConfig(cameras=(("head", "base_0_rgb"),), image_size=8)
    inputs = transform(config).inputs(request(images={"head": picture(5), "cam_low": picture()}))
    assert inputs.images[0, 4, 4].tolist() == [5, 5, 5]


def test_a_missing_wrist_is_black_and_masked() -> None:
    images = request()["images"]
    del images["cam_left_wrist"]
    inputs = transform().inputs(request(images=images))
    assert inputs.image_mask.tolist() == [True, False, True]
    assert not inputs.images[1].any()


def test_rows_first_or_channels_first_make_the_same() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 6, 9), dtype=np.uint8)
    first, last = (
        transform().inputs(with_picture(i)).images for i in (image, image.transpose(1, 2, 0))
    )
    np.testing.assert_array_equal(first, last)
    assert first.any()


def test_float_pictures_become_whole_numbers_by_cutting_off() -> None:
    image = np.full((3, 8, 8), 0.999, np.float32)
    image[:, 0] = 1.0
    images = transform().inputs(with_picture(image)).images[0]
    assert images[0, 0].tolist() == [255, 255, 255]
    assert images[1, 0].tolist() == [254, 254, 254]


def test_the_state_may_be_a_list_of_whole_numbers() -> None:
    inputs = transform().inputs(request(state=[1] * 14))
    assert inputs.state.dtype == np.float32
    assert inputs.state.tolist() == [np.float32(1 / 1.000001)] * 14 + [0.0] * 18


def text(inputs: ModelInputs) -> str:
    return bytes((inputs.tokens[inputs.token_mask][1:] - 3).tolist()).decode()


@pytest.mark.parametrize(
    ("prompt", "default", "expected"),
    [
        ("grab it", None, "grab it\n"),
        ("grab it", "hold", "grab it\n"),
        (np.array("grab it"), None, "grab it\n"),
        (None, "hold", "hold\n"),
        ("", "hold", "hold\n"),
        (" \n", "hold", "hold\n"),
        ("", None, "\n"),
    ],
)
def test_the_default_prompt_stands_in_for_none(
    prompt: Any, default: str | None, expected: str
) -> None:
    config = TransformConfig(image_size=8, default_prompt=default)
    assert text(transform(config).inputs(request(prompt=prompt))) == expected


def test_an_over_long_prompt_is_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    config = TransformConfig(
        image_size=8, max_token_len=12, quantiles=True, discrete_state=True, robot_dim=1
    )
    both = transform(config)
    for tick in range(5):
        for prompt in ("first", "second"):
            inputs = both.inputs(request(state=np.array([0.1 * tick]), prompt=prompt))
            assert inputs.token_mask.all()
    assert len(caplog.messages) == 2
    assert "the model takes 12, the rest is cut off: 'first'" in caplog.messages[0]
    assert caplog.messages[1].endswith("'second'")


def test_the_memory_of_over_long_prompts_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    once = transform(TransformConfig(image_size=1, max_token_len=1))
    for i in range(300):
        once.inputs(request(prompt=f"prompt {i}"))
    assert len(caplog.messages) == 300
    once.inputs(request(prompt="prompt 299"))
    assert len(caplog.messages) == 300
    once.inputs(request(prompt="prompt 0"))
    assert len(caplog.messages) == 301


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (request(state=None), ObservationError, r"needs 'state', its keys are \['images'"),
        (request(state=np.zeros(7)), ObservationError, r"14 numbers, got float64 of shape \(7,\)"),
        (request(state=np.zeros((1, 14))), ObservationError, r"of shape \(1, 14\)"),
        (request(state=["0"] * 14), ObservationError, "14 numbers, got <U1"),
        (request(state=[[1], [1, 2]]), ObservationError, "must be 14 numbers"),
        (request(state=np.full(14, np.nan)), ObservationError, "finite.*got nan at index 0"),
        (request(state=[0] * 13 + [np.inf]), ObservationError, "finite.*got inf at index 13"),
        (request(state=[0] * 13 + [-2e6]), ObservationError, "within .*got -2000000.0 at index 13"),
        (request(images=None), ObservationError, "needs 'images', .* got none"),
        (request(images=[picture()]), ObservationError, "got list"),
        (request(images={}), ObservationError, "needs a picture of cam_high, got none"),
        (
            request(images={"cam_left_wrist": picture()}),
            ObservationError,
            r"needs a picture of cam_high, got \['cam_left_wrist'\]",
        ),
        (
            request(images={"cam_high": picture(), "cam_top": picture()}),
            ObservationError,
            r"unknown cameras \['cam_top'\], known are \['cam_high', 'cam_low'",
        ),
        (with_picture([[1]]), ImageError, "cam_high: a picture must be an array, got list"),
        (with_picture(picture().astype(np.int32)), ImageError, "uint8 or float.*got int32"),
        (with_picture(picture() > 3), ImageError, "got bool"),
        (with_picture(picture().astype(np.float32)), ImageError, r"in \[0, 1\], got 7.0 to 7.0"),
        (with_picture(np.full((3, 4, 4), -0.1)), ImageError, r"in \[0, 1\], got -0.1 to -0.1"),
        (with_picture(np.full((3, 4, 4), np.nan)), ImageError, r"in \[0, 1\], got nan to nan"),
        (with_picture(picture()[0]), ImageError, r"got \(6, 8\)"),
        (with_picture(picture()[None]), ImageError, r"got \(1, 3, 6, 8\)"),
        (with_picture(np.zeros((4, 6, 8), np.uint8)), ImageError, r"got \(4, 6, 8\)"),
        (with_picture(np.zeros((6, 3, 8), np.uint8)), ImageError, r"got \(6, 3, 8\)"),
        (with_picture(np.zeros((3, 0, 8), np.uint8)), ImageError, r"got \(3, 0, 8\)"),
        (with_picture(np.zeros((3, 8, 3), np.uint8)), ImageError, r"\(3, 8, 3\) may mean"),
        (
            request(images={"cam_high": picture(), "cam_low": picture()[0]}),
            ImageError,
            "cam_low: a picture must have shape",
        ),
        (request(prompt=None), ObservationError, "needs 'prompt': the policy has no default"),
        (request(prompt=b"grab"), ObservationError, "'prompt' must be text, got bytes"),
        (request(prompt=["grab"]), ObservationError, "'prompt' must be text, got list"),
        (request(prompt="x" * 100_001), ObservationError, "at most 100000 characters, got 100001"),
        (request(prompt="\ud800"), ObservationError, "must be Unicode text"),
    ],
)
def test_a_malformed_request_is_refused(
    bad: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        transform().inputs(bad)


def test_actions_of_another_shape_are_refused() -> None:
    with pytest.raises(BackendError, match=r"\(horizon, 32\), got \(50, 14\)"):
        transform().outputs(np.zeros((50, 14), np.float32), request())
    with pytest.raises(ObservationError, match=r"horizon, 14\).*got \(50, 32\) and \(14,\)"):
        transform().training_actions(np.zeros((50, 32)), np.zeros(14))
    with pytest.raises(ObservationError, match=r"got \(2, 50, 14\) and \(3, 14\)"):
        transform().training_actions(np.zeros((2, 50, 14)), np.zeros((3, 14)))
    with pytest.raises(ObservationError, match=r"got \(14,\) and \(14,\)"):
        transform().training_actions(np.zeros(14), np.zeros(14))


def test_a_delta_needs_the_state_that_it_is_relative_to() -> None:
    delta = transform(TransformConfig(delta_mask=DELTA))
    with pytest.raises(ObservationError, match="needs 'state'"):
        delta.outputs(np.zeros((1, 32), np.float32), {})


def test_statistics_must_fit_the_robot() -> None:
    with pytest.raises(NormStatsError, match=r"'actions' are missing, there are \['state'\]"):
        PolicyTransform(SMALL, {"state": STATS}, ByteTokenizer())
    with pytest.raises(NormStatsError, match="'state' must have 14 or more dimensions, got 7"):
        transform(state=NormStats(np.zeros(7), np.ones(7)))
    with pytest.raises(NormStatsError, match="'actions': quantiles need q01 and q99"):
        transform(TransformConfig(quantiles=True), actions=NormStats(np.zeros(14), np.ones(14)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cameras": ()}, "at least one camera"),
        ({"cameras": (("a", "x"), ("a", "y"))}, r"named once each, got \['a', 'a'\]"),
        ({"cameras": (("a", "x"), ("b", "x"))}, r"named once each, got \['x', 'x'\]"),
        ({"image_size": 0}, "image_size must be 1 or more, got 0"),
        ({"robot_dim": 33}, "model_dim must be robot_dim = 33 or more, got 32"),
        ({"max_token_len": 0}, "max_token_len must be 1 or more"),
        ({"delta_mask": (True,) * 15}, "at most robot_dim = 14 entries, got 15"),
    ],
)
def test_a_malformed_config_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        TransformConfig(**values)


@pytest.mark.parametrize("shape", [(3, 48, 64), (3, 64, 48), (3, 5, 64)])
def test_pictures_of_the_wire_are_fitted_as_those_in_rows(shape: tuple[int, int, int]) -> None:
    # Channels that lie apart in memory are resized one by one.
    planes = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    rows = np.ascontiguousarray(planes.transpose(1, 2, 0))
    np.testing.assert_array_equal(
        resize_with_pad(planes.transpose(1, 2, 0), 22, 20), resize_with_pad(rows, 22, 20)
    )
