# Images for a machine with an NVIDIA GPU and no ROS. CUDA comes with JAX's wheels; the host brings the
# driver and the NVIDIA container toolkit. Built from the root of the checkout:
#   docker build -f docker/gpu.Dockerfile --target server -t trossen-pi0-server .
#   docker build -f docker/gpu.Dockerfile --target train -t trossen-pi0-train .
#   docker build -f docker/gpu.Dockerfile --target train-lerobot -t trossen-pi0-train-lerobot .
ARG PYTHON_BASE=python:3.12.14-slim-bookworm

# Wheels of the suite's own packages, and uv, which the images do not keep.
FROM ${PYTHON_BASE} AS wheels
ENV PIP_ROOT_USER_ACTION=ignore
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=requirements,target=/requirements \
    pip install --no-deps --require-hashes --only-binary :all: -r /requirements/uv.lock && \
    uv pip install --system --no-deps --constraint /requirements/build.lock setuptools
COPY ros2_ws/src /src
COPY training /src/training
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels/server \
    /src/trossen_pi0_core /src/trossen_pi0_policy && \
    pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels/train \
    /src/trossen_pi0_bringup /src/trossen_pi0_control /src/trossen_pi0_data /src/trossen_pi0_sim \
    /src/training

FROM ${PYTHON_BASE} AS server
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,from=wheels,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=requirements/server.lock,target=/server.lock \
    uv pip install --system --link-mode copy --compile-bytecode \
    --no-deps --require-hashes --only-binary :all: -r /server.lock
RUN --mount=type=bind,from=wheels,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=wheels,source=/wheels/server,target=/wheels \
    uv pip install --system --no-cache --compile-bytecode --no-deps --no-index /wheels/*.whl
ARG UID=1000
RUN useradd --no-log-init --create-home --uid "${UID}" pi0 && \
    install --directory --owner pi0 --group pi0 /data /home/pi0/.cache
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1
USER ${UID}
WORKDIR /data
EXPOSE 8000
STOPSIGNAL SIGINT
# A large checkpoint is read and compiled before the server listens.
HEALTHCHECK --interval=15s --timeout=5s --retries=3 --start-period=15m \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["trossen-pi0"]
CMD ["serve", "--help"]

FROM ${PYTHON_BASE} AS train
RUN apt-get update && \
    apt-get install --yes --no-install-recommends libegl1 libgl1 libgl1-mesa-dri && \
    rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,from=wheels,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=requirements/train.lock,target=/train.lock \
    uv pip install --system --link-mode copy --compile-bytecode \
    --no-deps --require-hashes --only-binary :all: -r /train.lock
RUN --mount=type=bind,from=wheels,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    uv pip install --system --no-cache --compile-bytecode --no-deps --no-index \
    /wheels/server/*.whl /wheels/train/*.whl
ARG UID=1000
RUN useradd --no-log-init --create-home --uid "${UID}" pi0 && \
    install --directory --owner pi0 --group pi0 /data /home/pi0/.cache
# `graphics` for the simulated cameras; without a GPU Mesa renders them, on the calling thread.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics \
    MUJOCO_GL=egl \
    LP_NUM_THREADS=0 \
    PYTHONUNBUFFERED=1
USER ${UID}
WORKDIR /data
STOPSIGNAL SIGINT
CMD ["python", "-m", "trossen_pi0_training.train", "--help"]

# The lerobot library with torch, several GB, for a look at data sets through its eyes.
FROM train AS train-lerobot
ARG LEROBOT=v3.0
ARG UID=1000
USER 0
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,from=wheels,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=requirements,target=/requirements \
    uv venv /opt/lerobot-${LEROBOT} && \
    uv pip install --python /opt/lerobot-${LEROBOT}/bin/python --link-mode copy \
    --no-deps --require-hashes -r "/requirements/lerobot-${LEROBOT}.lock"
ENV TROSSEN_PI0_LEROBOT_PYTHON=/opt/lerobot-v3.0/bin/python \
    TROSSEN_PI0_LEROBOT_V21_PYTHON=/opt/lerobot-v2.1/bin/python
USER ${UID}
