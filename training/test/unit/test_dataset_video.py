from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training import video


def _picture(number: int) -> NDArray[np.uint8]:
    """Tells its number: brightness in steps that survive compression."""
    return np.full((48, 64, 3), 8 * number, dtype=np.uint8)


def _write(path: Path, numbers: range, codec: str = "libsvtav1") -> Path:
    with video.VideoWriter(path, 30, codec) as writer:
        for number in numbers:
            writer.add(_picture(number))
    return path


def _number(image: NDArray[np.uint8]) -> int:
    return round(float(image.mean()) / 8)


@pytest.mark.parametrize("codec", sorted(video.CODECS))
def test_each_picture_is_found_by_its_time_in_any_order(tmp_path: Path, codec: str) -> None:
    path = _write(tmp_path / "a.mp4", range(25), codec)
    file = video.VideoFile(path)
    order = [0, 1, 2, 24, 7, 7, 8, 3, 23, 0]
    assert [_number(file.picture(i / 30, 0.5 / 30)) for i in order] == order
    file.close()


@pytest.mark.parametrize("codec", sorted(video.CODECS))
def test_joined_videos_keep_their_pictures_and_times(tmp_path: Path, codec: str) -> None:
    parts = [
        _write(tmp_path / f"{i}.mp4", numbers, codec)
        for i, numbers in enumerate((range(5), range(5, 16), range(16, 19)))
    ]
    assert video.join(parts, tmp_path / "all.mp4", 30) == [5, 11, 3]
    file = video.VideoFile(tmp_path / "all.mp4")
    assert [_number(file.picture(i / 30, 1e-4)) for i in range(19)] == list(range(19))
    file.close()


def test_time_without_a_picture_is_an_error(tmp_path: Path) -> None:
    file = video.VideoFile(_write(tmp_path / "a.mp4", range(5)))
    with pytest.raises(DatasetError, match=r"no picture at 0\.500 s"):
        file.picture(0.5, 0.5 / 30)
    file.close()


def test_size_must_not_change(tmp_path: Path) -> None:
    writer = video.VideoWriter(tmp_path / "a.mp4", 30)
    writer.add(_picture(0))
    with pytest.raises(DatasetError, match=r"change from \(48, 64, 3\) to \(48, 32, 3\)"):
        writer.add(_picture(0)[:, :32])
    writer.close()


def test_odd_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="even height and width, got 47x64"):
        video.VideoWriter(tmp_path / "a.mp4", 30).add(_picture(0)[:47])


def test_no_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(DatasetError, match="no readable video"):
        video.VideoFile(tmp_path / "a.mp4")
    with pytest.raises(DatasetError, match="no readable video"):
        video.join([tmp_path / "a.mp4"], tmp_path / "b.mp4", 30)
