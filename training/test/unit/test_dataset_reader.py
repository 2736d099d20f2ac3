"""Opens data sets that are written here by hand, as other programs write them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_training.dataset import LeRobotFrames

FPS = 30
JOINTS = JointMap().dataset_names
WIDE = [f"{joint.removesuffix('.pos')}{kind}" for joint in JOINTS for kind in (".pos", ".vel")]
LENGTHS = (6, 9)
STARTS = (0, 6)
TASKS = ("pick it up", "put it down")


def _value(frame: int, name: str, names: Sequence[str]) -> float:
    return frame + names.index(name) / 100


def _rows(names: Sequence[str], episode: int) -> dict[str, Any]:
    count, first = LENGTHS[episode], STARTS[episode]
    table = np.array([[_value(first + i, n, names) for n in names] for i in range(count)])
    return {
        "action": (table + 0.5).astype(np.float32).tolist(),
        "observation.state": table.astype(np.float32).tolist(),
        "timestamp": pa.array([i / FPS for i in range(count)], pa.float32()),
        "frame_index": list(range(count)),
        "episode_index": [episode] * count,
        "index": list(range(first, first + count)),
        "task_index": [episode] * count,
    }


def _picture(frame: int, camera: int) -> NDArray[np.uint8]:
    image = np.full((32, 32, 3), 12 * frame, dtype=np.uint8)
    image[:, 16:] = 60 * camera
    return image


def _video(path: Path, frames: range, camera: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"g": "10", "crf": "5"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for i in frames:
            frame = av.VideoFrame.from_ndarray(_picture(i, camera), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _info(names: Any, version: str, cameras: Sequence[str], **more: Any) -> dict[str, Any]:
    width = len(names) if isinstance(names, list) else len(names["motors"])
    vector = {"dtype": "float32", "shape": [width], "names": names}
    picture = {"dtype": "video", "shape": [32, 32, 3], "names": ["height", "width", "channels"]}
    counters = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    features = {"action": vector, "observation.state": vector}
    features |= {f"observation.images.{camera}": picture for camera in cameras}
    features |= {each: {"dtype": "int64", "shape": [1], "names": None} for each in counters}
    return {"codebase_version": version, "fps": FPS, "features": features, **more}


def _dump(content: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = content if isinstance(content, list) else [content]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")


def _v21(root: Path, names: Any = WIDE, cameras: Sequence[str] = ("top", "left")) -> Path:
    flat = names if isinstance(names, list) else names["motors"]
    for episode in range(2):
        path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(_rows(flat, episode)), path)
        frames = range(STARTS[episode], STARTS[episode] + LENGTHS[episode])
        for number, camera in enumerate(cameras):
            key = f"observation.images.{camera}"
            _video(root / f"videos/chunk-000/{key}/episode_{episode:06d}.mp4", frames, number)
    info = _info(
        names, "v2.1", cameras, chunks_size=1000, splits={"train": "0:1", "val": "1:2"},
        data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    )  # fmt: skip
    _dump(info, root / "meta/info.json")
    _dump([{"task_index": i, "task": t} for i, t in enumerate(TASKS)], root / "meta/tasks.jsonl")
    episodes = [{"episode_index": i, "tasks": [TASKS[i]], "length": LENGTHS[i]} for i in range(2)]
    _dump(episodes, root / "meta/episodes.jsonl")
    return root


def _v30(root: Path, cameras: Sequence[str] = ("cam_high", "cam_right_wrist")) -> Path:
    names = list(JOINTS)
    path = root / "data/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True)
    both = pa.concat_tables([pa.table(_rows(names, episode)) for episode in range(2)])
    pq.write_table(both, path)
    place = {"chunk_index": [0, 0], "file_index": [0, 0]}
    rows: dict[str, Any] = {
        "episode_index": [0, 1],
        "tasks": [[TASKS[0]], [TASKS[1]]],
        "length": list(LENGTHS),
        "dataset_from_index": list(STARTS),
        "dataset_to_index": [6, 15],
        "stats/action/mean": [[0.0], [0.0]],
    } | {f"data/{name}": value for name, value in place.items()}
    for number, camera in enumerate(cameras):
        key = f"observation.images.{camera}"
        _video(root / f"videos/{key}/chunk-000/file-000.mp4", range(15), number)
        rows |= {f"videos/{key}/{name}": value for name, value in place.items()}
        rows[f"videos/{key}/from_timestamp"] = [0.0, 6 / FPS]
        rows[f"videos/{key}/to_timestamp"] = [6 / FPS, 15 / FPS]
    info = _info(
        names, "v3.0", cameras, splits={"train": "0:2"},
        data_path="data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        video_path="videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    )  # fmt: skip
    _dump(info, root / "meta/info.json")
    episodes = root / "meta/episodes/chunk-000/file-000.parquet"
    episodes.parent.mkdir(parents=True)
    pq.write_table(pa.table(rows), episodes)
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": list(TASKS)})
    pq.write_table(tasks, root / "meta/tasks.parquet")
    return root


@pytest.mark.parametrize("make", [_v21, _v30])
def test_each_frame_has_its_values_pictures_and_task(tmp_path: Path, make: Any) -> None:
    data = LeRobotFrames(make(tmp_path / "set"))
    names = WIDE if make is _v21 else list(JOINTS)
    assert len(data) == 15
    assert data.fps == FPS
    assert data.tasks == TASKS
    assert [(each.first, each.length) for each in data.episodes] == [(0, 6), (6, 9)]
    for i in [*range(15), 3, 14, 0]:
        frame = data.frame(i)
        wanted = [_value(i, joint, names) for joint in JOINTS]
        np.testing.assert_allclose(frame.state, np.asarray(wanted, np.float32))
        np.testing.assert_allclose(frame.action, np.asarray(wanted, np.float32) + 0.5, rtol=1e-6)
        assert (frame.episode, frame.frame) == ((0, i) if i < 6 else (1, i - 6))
        assert frame.task == TASKS[frame.episode]
        assert frame.time_s == pytest.approx(frame.frame / FPS)
        for number, image in enumerate(frame.images.values()):
            assert image[:, :12].mean() == pytest.approx(12 * i, abs=4)
            assert image[:, 20:].mean() == pytest.approx(60 * number, abs=4)
    data.close()


def test_cameras_have_the_suites_names(tmp_path: Path) -> None:
    data = LeRobotFrames(_v21(tmp_path / "set"))
    assert data.cameras == ("cam_high", "cam_left_wrist")
    only = LeRobotFrames(tmp_path / "set", cameras=["left"])
    assert set(only.frame(0).images) == {"left"}
    assert set(data.frame(0, ["cam_high"]).images) == {"cam_high"}
    with pytest.raises(DatasetError, match=r"no camera 'cam_low', it has \['top', 'left'\]"):
        LeRobotFrames(tmp_path / "set", cameras=["cam_low"])
    data.close()
    only.close()


def test_values_are_chosen_by_name(tmp_path: Path) -> None:
    data = LeRobotFrames(_v21(tmp_path / "set"))
    names = ["right_joint_2.vel", "left_joint_0"]
    found = data.select(names, "action")
    wanted = [[_value(i, n, WIDE) + 0.5 for n in (names[0], "left_joint_0.pos")] for i in range(15)]
    np.testing.assert_allclose(found, np.asarray(wanted, np.float32))
    with pytest.raises(DatasetError, match="action has no value 'left_joint_9', it has"):
        data.select(["left_joint_9"], "action")
    with pytest.raises(DatasetError, match=r"has no 'observation\.force'"):
        data.select(["left_joint_0"], "observation.force")


def test_names_may_stand_in_groups(tmp_path: Path) -> None:
    data = LeRobotFrames(_v21(tmp_path / "set", {"motors": list(reversed(JOINTS))}))
    np.testing.assert_allclose(data.frame(2, []).state[0], np.float32(2.13))


def test_splits_name_their_episodes(tmp_path: Path) -> None:
    data = LeRobotFrames(_v21(tmp_path / "set"))
    assert data.splits == {"train": range(1), "val": range(1, 2)}


def test_pictures_may_stand_in_the_tables(tmp_path: Path) -> None:
    root = _v21(tmp_path / "set", cameras=())
    path = root / "data/chunk-000/episode_000001.parquet"
    for episode in range(2):
        path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
        pictures: list[dict[str, Any]] = []
        for i in range(LENGTHS[episode]):
            buffer = io.BytesIO()
            Image.fromarray(_picture(STARTS[episode] + i, 1)).save(buffer, "png")
            pictures.append({"bytes": buffer.getvalue(), "path": None})
        table = pq.read_table(path).append_column("observation.images.top", pa.array(pictures))
        pq.write_table(table, path)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.top"] = {"dtype": "image", "shape": [32, 32, 3]}
    _dump(info, root / "meta/info.json")
    data = LeRobotFrames(root)
    for i in (0, 5, 6, 14, 2):
        np.testing.assert_array_equal(data.frame(i).images["cam_high"], _picture(i, 1))


def test_no_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no meta/info\.json"):
        LeRobotFrames(tmp_path)


def test_unknown_format_is_an_error(tmp_path: Path) -> None:
    _dump({"codebase_version": "v9.0"}, tmp_path / "meta/info.json")
    with pytest.raises(DatasetError, match=r"format 'v9.0', v3.0, v2.1 can be read"):
        LeRobotFrames(tmp_path)


def test_missing_table_is_an_error(tmp_path: Path) -> None:
    root = _v21(tmp_path / "set")
    (root / "data/chunk-000/episode_000001.parquet").unlink()
    with pytest.raises(DatasetError, match=r"cannot read .*episode_000001\.parquet"):
        LeRobotFrames(root)


def test_a_damaged_table_of_an_episode_that_is_left_out_is_not_read(tmp_path: Path) -> None:
    root = _v21(tmp_path / "set")
    whole = LeRobotFrames(root)
    (root / "data/chunk-000/episode_000001.parquet").write_bytes(b"damaged")
    data = LeRobotFrames(root, without=[1])
    assert len(data) == len(whole)
    np.testing.assert_array_equal(data.select(JOINTS)[:6], whole.select(JOINTS)[:6])
    assert not data.select(JOINTS)[6:].any()
    assert data.frame(5).episode == 0


def test_short_table_is_an_error(tmp_path: Path) -> None:
    root = _v21(tmp_path / "set")
    path = root / "data/chunk-000/episode_000001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 4), path)
    with pytest.raises(DatasetError, match="hold 10 frames of 2 episodes, meta lists 15 of 2"):
        LeRobotFrames(root)


def test_frame_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    data = LeRobotFrames(_v30(tmp_path / "set"))
    assert data.frame(-1).index == 14
    with pytest.raises(DatasetError, match=r"0\.\.14, got 15"):
        data.frame(15)
    data.close()


def test_unreadable_video_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    root = _v30(tmp_path / "set")
    path = root / "videos/observation.images.cam_high/chunk-000/file-000.mp4"
    path.write_bytes(path.read_bytes()[:300])
    data = LeRobotFrames(root)
    with pytest.raises(DatasetError, match=r"file-000.mp4"):
        data.frame(0)
    data.frame(0, ["cam_right_wrist"])
    data.close()
