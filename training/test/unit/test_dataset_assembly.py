"""Shards put together to data sets of both formats, read back."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_training import assemble as assembling
from trossen_pi0_training import layout
from trossen_pi0_training.assemble import assemble
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.publish import DataSet, check
from trossen_pi0_training.shards import Frame, Origin, Shard, write_shard

JOINTS = JointMap().dataset_names
CAMERAS = ("cam_high", "cam_left_wrist")
LENGTHS = (5, 8, 3)
TASKS = ("pick", "place", "pick")


def _frames(episode: int, count: int) -> Iterator[Frame]:
    for i in range(count):
        images = {
            camera: np.full((32, 48, 3), 40 * episode + 10 * i + 5 * c, dtype=np.uint8)
            for c, camera in enumerate(CAMERAS)
        }
        joints = np.arange(14, dtype=np.float64)
        yield Frame(joints + (i + 100 * episode), joints - i, images)


def _origin(name: str) -> Origin:
    return Origin(name, f"/episodes/{name}", {"a.mcap": "00"}, "success", "2026", 3, {})


def _write(folder: Path, episode: int, fps: int = 30, count: int | None = None) -> Shard:
    return write_shard(
        folder,
        _frames(episode, LENGTHS[episode] if count is None else count),
        origin=_origin(f"e{episode}"),
        task=TASKS[episode],
        fps=fps,
        joint_names=JOINTS,
        cameras=CAMERAS,
        codec="libsvtav1",
    )


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Shard]:
    folder = tmp_path_factory.mktemp("shards")
    for episode in range(3):
        _write(folder / f"{episode}", episode)
    return [Shard.read(folder / f"{episode}") for episode in range(3)]


@pytest.mark.parametrize("version", layout.FORMATS)
def test_all_frames_are_there_in_order(shards: list[Shard], tmp_path: Path, version: str) -> None:
    assemble(shards, tmp_path / "set", version)
    data = LeRobotFrames(tmp_path / "set")
    assert data.version == version
    assert data.tasks == ("pick", "place")
    assert [each.length for each in data.episodes] == list(LENGTHS)
    assert data.column("index").tolist() == list(range(16))
    assert data.column("timestamp").dtype == np.float32
    for i, (episode, row) in enumerate((e, r) for e in range(3) for r in range(LENGTHS[e])):
        frame = data.frame(i)
        assert (frame.episode, frame.frame, frame.task) == (episode, row, TASKS[episode])
        np.testing.assert_array_equal(frame.state, np.arange(14.0) + row + 100 * episode)
        np.testing.assert_array_equal(frame.action, np.arange(14.0) - row)
        for c, camera in enumerate(CAMERAS):
            wanted = 40 * episode + 10 * row + 5 * c
            assert frame.images[camera].mean() == pytest.approx(wanted, abs=3)
    data.close()


def test_layout_v21(shards: list[Shard], tmp_path: Path) -> None:
    assemble(shards, tmp_path, layout.V21)
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    meta = ["episodes.jsonl", "episodes_stats.jsonl", "info.json", "tasks.jsonl"]
    numbers = ["000000", "000001", "000002"]
    videos = [
        f"videos/chunk-000/observation.images.{c}/episode_{n}.mp4" for c in CAMERAS for n in numbers
    ]
    data = [f"data/chunk-000/episode_{n}.parquet" for n in numbers]
    assert found == [*data, *(f"meta/{name}" for name in meta), *videos]
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert info["codebase_version"] == "v2.1"
    assert info["robot_type"] == "bi_widowxai_follower"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 16, 2)
    assert (info["total_videos"], info["total_chunks"], info["fps"]) == (6, 1, 30)
    assert info["splits"] == {"train": "0:3"}
    assert info["features"]["action"]["names"][6] == "left_left_carriage_joint.pos"
    assert info["features"]["action"]["names"][7] == "right_joint_0.pos"
    assert info["features"]["observation.images.cam_high"]["shape"] == [32, 48, 3]
    tasks = [json.loads(line) for line in (tmp_path / "meta/tasks.jsonl").read_text().splitlines()]
    assert tasks == [{"task_index": 0, "task": "pick"}, {"task_index": 1, "task": "place"}]


def test_layout_v30(shards: list[Shard], tmp_path: Path) -> None:
    assemble(shards, tmp_path, layout.V30, {"train": "0:2", "val": "2:3"})
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert found == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "videos/observation.images.cam_high/chunk-000/file-000.mp4",
        "videos/observation.images.cam_left_wrist/chunk-000/file-000.mp4",
    ]
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert info["splits"] == {"train": "0:2", "val": "2:3"}
    episodes = pq.read_table(tmp_path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    key = "videos/observation.images.cam_high"
    assert [each[f"{key}/from_timestamp"] for each in episodes] == [0.0, 5 / 30, 13 / 30]
    assert [each["dataset_to_index"] for each in episodes] == [5, 13, 16]
    assert episodes[1]["stats/observation.state/min"][0] == 100.0
    tasks = pq.read_table(tmp_path / "meta/tasks.parquet")
    about = json.loads((tasks.schema.metadata or {})[b"pandas"])
    assert about["index_columns"] == ["__index_level_0__"]


def test_statistics_are_of_all_frames(shards: list[Shard], tmp_path: Path) -> None:
    assemble(shards, tmp_path, layout.V30)
    found = json.loads((tmp_path / "meta/stats.json").read_text())
    data = LeRobotFrames(tmp_path)
    for feature in ("action", "observation.state", "index", "timestamp", "task_index"):
        column = data.column(feature).reshape(16, -1).astype(np.float64)
        np.testing.assert_allclose(found[feature]["mean"], column.mean(axis=0))
        np.testing.assert_allclose(found[feature]["std"], column.std(axis=0))
        np.testing.assert_allclose(found[feature]["q99"], np.quantile(column, 0.99, axis=0))
        assert found[feature]["count"] == [16]
    levels = np.array([40 * e + 10 * i for e in range(3) for i in range(LENGTHS[e])]) / 255
    picture = found["observation.images.cam_high"]
    np.testing.assert_allclose(np.ravel(picture["mean"]), [levels.mean()] * 3)
    np.testing.assert_allclose(np.ravel(picture["std"]), [levels.std()] * 3)
    assert picture["count"] == [16]


def test_large_episodes_go_into_files_of_their_own(
    shards: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "VIDEO_FILE_MB", 0)
    monkeypatch.setattr(layout, "DATA_FILE_MB", 0)
    assemble(shards, tmp_path, layout.V30)
    assert len(list(tmp_path.glob("data/chunk-000/*.parquet"))) == 3
    data = LeRobotFrames(tmp_path)
    assert len(list(tmp_path.glob("videos/*/chunk-000/*.mp4"))) == 6
    frame = data.frame(13)
    assert (frame.episode, frame.frame) == (2, 0)
    assert frame.images["cam_high"].mean() == pytest.approx(80, abs=3)
    data.close()


def test_files_fill_up_to_the_limit() -> None:
    mib = 1024 * 1024
    sizes = [60 * mib, 40 * mib, 1, 150 * mib, 10 * mib]
    assert list(assembling._files(sizes, 100)) == [[0, 1], [2], [3], [4]]


def test_episodes_of_another_rate_do_not_fit(shards: list[Shard], tmp_path: Path) -> None:
    other = _write(tmp_path / "other", 0, fps=15)
    with pytest.raises(DatasetError, match="e0 and e0 do not fit into one data set"):
        assemble([shards[0], other], tmp_path / "set", layout.V30)
    assert not (tmp_path / "set").exists()


def test_failed_shard_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="at least 2 frames, got 1"):
        _write(tmp_path / "s", 0, count=1)
    assert list(tmp_path.iterdir()) == []


def test_values_must_be_finite(tmp_path: Path) -> None:
    def frames() -> Iterator[Frame]:
        for frame in _frames(0, 4):
            action = frame.action.copy()
            action[9] = np.nan if frame.state[0] == 2.0 else 0.0
            yield Frame(frame.state, action, frame.images)

    with pytest.raises(
        DatasetError, match=r"action of right_joint_2\.pos is not finite in frame 2"
    ):
        write_shard(
            tmp_path / "s", frames(), origin=_origin("e"), task="t", fps=30, joint_names=JOINTS,
            cameras=CAMERAS, codec="libsvtav1",
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", layout.FORMATS)
def test_many_episodes_are_put_together_and_checked_by_several_processes(
    shards: list[Shard], tmp_path: Path, version: str
) -> None:
    many = [shards[0], shards[2], shards[1]] * 43
    assemble(many, tmp_path / "alone", version)
    assemble(many, tmp_path / "together", version, workers=2)
    for path in (tmp_path / "alone").rglob("*.json*"):
        other = tmp_path / "together" / path.relative_to(tmp_path / "alone")
        assert other.read_bytes() == path.read_bytes()
    check(DataSet("lab/many", Path(), tuple(many), {}), tmp_path / "together", 2)
    many[100], many[103] = shards[0], shards[0]
    with pytest.raises(DatasetError, match="episodes have"):
        check(DataSet("lab/many", Path(), tuple(many), {}), tmp_path / "together", 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_episode_with_other_values_is_found(
    shards: list[Shard], tmp_path: Path, workers: int
) -> None:
    many = [shards[2]] * 130
    other = _write(tmp_path / "other", 1, count=3)
    assemble([*many[:100], other, *many[101:]], tmp_path / "set", layout.V30)
    with pytest.raises(DatasetError, match=r"values of episode e2 were changed"):
        check(DataSet("lab/many", Path(), tuple(many), {}), tmp_path / "set", workers)
