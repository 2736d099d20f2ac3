"""Repairs the episodes that a killed recorder left unfinished. ROS-free."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import yaml

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_data import episode_info
from trossen_pi0_data.bag_metadata import BagSpan, BagTopic
from trossen_pi0_data.bag_writer import give_back, mcap_name, write_metadata
from trossen_pi0_data.episode_info import EpisodeInfo, TopicInfo
from trossen_pi0_data.mcap_repair import McapContent, repair

_LOG = logging.getLogger(__name__)

_NANOSECONDS = 1e9


def recover_all(episodes_dir: Path) -> list[EpisodeInfo]:
    """Repairs every unfinished episode in a folder.

    One that cannot be repaired, or that another recorder is writing, is logged and left as it is.

    Returns:
        What was repaired.
    """
    repaired: list[EpisodeInfo] = []
    if not episodes_dir.is_dir():
        return repaired
    for folder in sorted(episodes_dir.iterdir()):
        if not (folder / episode_info.FILE).is_file():
            continue
        try:
            if EpisodeInfo.read(folder).state == episode_info.RECORDING:
                repaired.append(recover(folder))
        except (EpisodeError, OSError) as error:
            _LOG.warning("episode %s is not repaired: %s", folder, error)
    return repaired


def recover(folder: Path) -> EpisodeInfo:
    """Gives an unfinished episode an end: of the file, ``metadata.yaml`` and ``episode.json``.

    May be interrupted at any point and begun again.

    Returns:
        Its information, of the state ``interrupted``.

    Raises:
        EpisodeError: it is no episode, or nothing can be read of it.
        OSError: it cannot be written.
    """
    info = EpisodeInfo.read(folder)
    path = folder / mcap_name(folder)
    if not path.is_file():
        raise EpisodeError(f"{folder} has no {path.name}")
    content = repair(path)
    give_back(folder)
    counts = content.counts_by_topic
    span = BagSpan(content.first_ns, content.last_ns, sum(counts.values()))
    write_metadata(path, _topics(content), span, info.software.ros_distro)
    info = dataclasses.replace(
        info,
        state=episode_info.INTERRUPTED,
        duration_s=span.duration_ns / _NANOSECONDS,
        topics=_counted(info.topics, content),
        fault=info.fault or "the recorder was killed",
    )
    info.write(folder)
    return info


def _counted(topics: dict[str, TopicInfo], content: McapContent) -> dict[str, TopicInfo]:
    """The topics with the messages that there are; what was dropped died with the recorder."""
    types = {c.topic: content.schemas[c.schema_id].name for c in content.channels.values()}
    known = {**{name: TopicInfo(type=kind) for name, kind in types.items()}, **topics}
    counts = content.counts_by_topic
    return {
        name: dataclasses.replace(topic, messages=counts.get(name, 0))
        for name, topic in known.items()
    }


def _topics(content: McapContent) -> list[BagTopic]:
    counts = content.counts_by_topic
    return [
        BagTopic(
            name=channel.topic,
            type=content.schemas[channel.schema_id].name,
            type_hash=channel.metadata.get("topic_type_hash", ""),
            qos=tuple(yaml.safe_load(channel.metadata.get("offered_qos_profiles", "")) or ()),
            messages=counts[channel.topic],
        )
        for channel in content.channels.values()
    ]
