"""The report of episodes and data sets: the command, its page and its exit status."""

from __future__ import annotations

import re

import pytest

from fixtures.bags import Episode
from fixtures.handovers import Handover
from trossen_pi0_training import convert, report


@pytest.fixture
def episodes(tmp_path):
    folder = tmp_path / "episodes"
    Handover("good", prompt='grab <b>it</b> & "go"').write(folder)
    Handover("swapped", swapped=True, seed=1).write(folder)
    Episode("no_joints", stop_s={"/joint_states": 0.0}).write(folder)
    Episode("empty", seconds=0.0).write(folder)
    broken = Episode("broken").write(folder)
    (broken / "broken_0.mcap").write_bytes(b"nothing")
    return folder


def test_the_report_is_one_page_with_all_episodes(episodes, tmp_path, capsys):
    assert report.main([str(episodes), "--output", str(tmp_path / "out"), "--jobs", "1"]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for name in ("good", "swapped", "no_joints", "empty", "broken"):
        assert name in page
    assert "grab &lt;b&gt;it&lt;/b&gt; &amp; &quot;go&quot;" in page
    assert "<b>it</b>" not in page
    assert "it is no MCAP file" in page
    assert "no_joints has no usable joint states" in page
    sources = re.findall(r'(?:src|href)="([^"]{0,22})', page)
    assert len(sources) == 4 + 2 * (4 * 3 + 1)
    assert all(source.startswith("data:image/") for source in sources)
    said = capsys.readouterr().err
    assert "2 episodes, 240 frames" in said
    assert "swapped: warning: swapped wrists: cam_left_wrist moves with the right arm" in said
    assert "empty: cannot be read" in said


def test_strict_ends_with_status_1_for_bad_episodes_only(episodes, tmp_path):
    assert report.look_at([report.EpisodePlace(episodes / "good")]).is_good
    assert not report.look_at([report.EpisodePlace(episodes / "swapped")]).is_good
    assert not report.look_at(
        [report.EpisodePlace(episodes / name) for name in ("good", "broken")]
    ).is_good
    output = ["--output", str(tmp_path / "out"), "--jobs", "1"]
    assert report.main([str(episodes / "swapped"), "--strict", *output]) == 1
    assert report.main([str(episodes / "broken"), *output]) == 1


def test_without_an_episode_there_is_no_report(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 1
    assert "there is no episode in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit):
        report.main([str(tmp_path), "--jobs", "none"])


@pytest.fixture
def data_set(episodes, tmp_path, capsys):
    root = tmp_path / "set"
    words = ["--episodes", str(episodes), "--repo-id", "lab/set", "--root", str(root)]
    assert convert.main([*words, "--format", "v2.1", "--workers", "1"]) == 0
    capsys.readouterr()
    return root


def test_a_data_set_is_looked_at_like_episodes(data_set, tmp_path, capsys):
    assert report.main([str(data_set), "--output", str(tmp_path / "out"), "--jobs", "1"]) == 0
    said = capsys.readouterr().err
    assert "2 episodes, 240 frames" in said
    assert "swapped wrists: cam_left_wrist moves with the right arm" in said
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "episode 1" in page
    assert "<td>2 success</td>" in page
    assert "<h2>Cameras</h2>" not in page
    assert "<h2>Topics</h2>" not in page


def test_a_damaged_record_of_the_conversion_is_told(data_set, tmp_path, capsys):
    (data_set / "meta" / "conversion.json").write_text('{"episodes": [{}]}', encoding="utf-8")
    assert report.main([str(data_set), "--output", str(tmp_path / "out"), "--jobs", "1"]) == 1
    assert "conversion.json is damaged: KeyError: 'episode_index'" in capsys.readouterr().err
