"""Parameters of the policy node."""

from __future__ import annotations

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.images import POLICY_IMAGE_SIZE
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters.bounds import check_bounds, error, warning
from trossen_pi0_core.parameters.joint_maps import check_joint_map
from trossen_pi0_core.parameters.spec import parameter, parameters

BACKENDS = ("openpi", "pi0", "expert", "replay")
"""Policy backends that can be named."""

EXECUTIONS = ("async", "blocking", "rtc")
"""How inference and motion can go together."""

SMALLEST_IMAGE = 32
"""Pictures are fitted into no smaller square [pixels]."""


@parameters
class PolicyParameters:
    """What the policy node can be told. Lists per camera are in the order of ``cameras``."""

    autostart: bool = parameter(True, "Configure and activate the node at start.")
    niceness: int = parameter(
        10,
        "Nice value of the node's process: by how much compiling and inference leave the "
        "processors to cameras and arms.",
        low=0,
        high=19,
    )
    backend: str = parameter(
        "openpi",
        "'openpi': an openpi-compatible server; 'pi0': π0 in the node's own process; 'expert': the "
        "scripted handover in simulation; 'replay': a recorded action sequence.",
        choices=BACKENDS,
    )
    prompt: str = parameter(
        "grab and handover the red cube", "Instruction of runs that bring none.", live=True
    )
    arms: tuple[str, ...] = parameter(("left", "right"), "Names of the arms.")
    urdf_prefixes: tuple[str, ...] = parameter(
        ("follower_left_", "follower_right_"), "URDF joint name prefix of each arm."
    )
    cameras: tuple[str, ...] = parameter(CAMERAS, "Names of the cameras, as the policy knows them.")
    camera_topics: tuple[str, ...] = parameter(
        (), "Image topic of each camera; empty: /<camera>/color/image_raw."
    )
    image_reliability: str = parameter(
        "best_effort",
        "Quality of service of the image subscriptions; best effort matches any publisher.",
        choices=("best_effort", "reliable"),
    )
    image_size: int = parameter(
        POLICY_IMAGE_SIZE[0],
        "openpi: edge of the square that pictures are fitted into, with padding, 32 or more "
        "[pixels]; 0: they are sent as they come.",
        low=0,
        high=1024,
    )
    sync_tolerance_s: float = parameter(
        0.05,
        "Largest distance between a picture and the joint state [s].",
        low=0.001,
        high=1.0,
        live=True,
    )
    max_observation_age_s: float = parameter(
        0.3, "Older joint states or pictures pause a run [s].", low=0.02, high=10.0, live=True
    )
    control_rate: float = parameter(
        30.0,
        "Rate of the rows of a chunk, that of the training data [Hz].",
        low=1.0,
        high=200.0,
        live=True,
    )
    rate_of_inference: int = parameter(
        25,
        "Control steps between two inferences, at most the rows of a chunk.",
        low=1,
        high=1000,
        live=True,
    )
    execution: str = parameter(
        "async",
        "'async': infers while the arms move, a new chunk takes over at its own time; 'blocking': "
        "the arms stop for each inference, as with the reference client; 'rtc': as async, and the "
        "policy is told which rows are under way and agrees with them (real-time chunking).",
        choices=EXECUTIONS,
        live=True,
    )
    delay_quantile: float = parameter(
        0.9,
        "Quantile of recent delays, observation to chunk, that is taken as the expected delay.",
        low=0.5,
        high=1.0,
        live=True,
    )
    max_duration_s: float = parameter(
        60.0, "Time limit of runs that bring none [s].", low=0.1, high=86400.0, live=True
    )
    start_pose: str = parameter(
        "staged",
        "Pose of the arm controller that a run begins from; empty: where the arms are.",
        live=True,
    )
    stall_timeout_s: float = parameter(
        10.0, "A run without a new chunk for this long fails [s].", low=0.1, high=600.0, live=True
    )
    status_rate: float = parameter(5.0, "Rate of the status topic [Hz].", low=0.5, high=50.0)
    warn_picture_rate: float = warning(
        20.0, "rate of the pictures of a camera [Hz]", low=0.1, high=1000.0, small=True
    )
    error_picture_rate: float = error(
        5.0, "rate of the pictures of a camera [Hz]", low=0.1, high=1000.0, small=True
    )
    warn_picture_age_s: float = warning(
        0.2, "age of the newest picture of a camera [s]", low=0.001, high=60.0
    )
    error_picture_age_s: float = error(
        0.5, "age of the newest picture of a camera [s]", low=0.001, high=60.0
    )
    warn_joint_rate: float = warning(
        40.0, "rate of the joint states [Hz]", low=0.1, high=1000.0, small=True
    )
    error_joint_rate: float = error(
        10.0, "rate of the joint states [Hz]", low=0.1, high=1000.0, small=True
    )
    warn_joint_age_s: float = warning(
        0.1, "age of the newest joint state [s]", low=0.001, high=60.0
    )
    error_joint_age_s: float = error(0.5, "age of the newest joint state [s]", low=0.001, high=60.0)
    warn_inference_s: float = warning(
        0.5, "95th percentile of the time of an inference [s]", low=0.001, high=600.0
    )
    error_inference_s: float = error(
        2.0, "95th percentile of the time of an inference [s]", low=0.001, high=600.0
    )
    warn_policy_events: int = warning(
        1, "failed inferences and answers that came too late [1/min]", low=1, high=1000000
    )
    error_policy_events: int = error(
        30,
        "failed inferences and answers that came too late [1/min]",
        low=1,
        high=1000000,
    )
    policy_host: str = parameter("127.0.0.1", "openpi: host name or address of the server.")
    policy_port: int = parameter(8000, "openpi: port of the server.", low=1, high=65535)
    policy_api_key: str = parameter("", "openpi: API key; empty: none is sent.")
    connect_timeout_s: float = parameter(
        5.0, "openpi: longest wait for a connection [s].", low=0.1, high=120.0
    )
    inference_timeout_s: float = parameter(
        10.0, "openpi: longest wait for an answer [s].", low=0.1, high=600.0
    )
    warmup_timeout_s: float = parameter(
        120.0,
        "openpi: longest wait for the answer to the trial observation after each connection, for "
        "which a server may have to compile [s]; 0: none is sent.",
        low=0.0,
        high=3600.0,
    )
    checkpoint: str = parameter(
        "",
        "pi0: checkpoint folder with params/ and assets/, on disk, gs://..., or "
        "shipped://sim_handover, which comes with the suite.",
    )
    model_config: str = parameter(
        "", "pi0: model preset, such as pi0 or pi05; empty: what the checkpoint says or fits."
    )
    model_dtype: str = parameter(
        "auto",
        "pi0: type of parameters and computation; 'auto': bfloat16, on a CPU float32.",
        choices=("auto", "bfloat16", "float32"),
    )
    flow_steps: int = parameter(10, "pi0: flow steps of the sampler.", low=1, high=1000)
    max_guidance_weight: float = parameter(
        5.0,
        "pi0: bound on how strongly execution 'rtc' pulls a chunk towards what is executed.",
        low=0.01,
        high=100.0,
    )
    tokenizer_file: str = parameter(
        "", "pi0: PaliGemma's SentencePiece model; empty: from the cache, else downloaded."
    )
    asset_id: str = parameter(
        "", "pi0: which of the checkpoint's normalisation statistics; empty: the only ones."
    )
    reference_client_compat: bool = parameter(
        False,
        "pi0: squash pictures and swap red and blue, as the vendor's client does; only for "
        "checkpoints that were never used otherwise.",
    )
    compilation_cache: str = parameter(
        "~/.cache/trossen_pi0/compiled",
        "pi0: folder for compiled programs, with which the next start is faster; empty: none.",
    )
    expert_horizon: int = parameter(50, "expert: rows of a chunk.", low=2, high=1000)
    replay_file: str = parameter(
        "", "replay: .npz file with 'positions' (rows, joints), 'joint_names' and 'rate_hz'."
    )
    replay_horizon: int = parameter(50, "replay: rows of a chunk.", low=2, high=1000)

    @property
    def joint_map(self) -> JointMap:
        """Names of the joints."""
        return JointMap(self.arms, self.urdf_prefixes)

    @property
    def image_topics(self) -> dict[str, str]:
        """Camera name -> image topic."""
        topics = self.camera_topics or tuple(f"/{c}/color/image_raw" for c in self.cameras)
        return dict(zip(self.cameras, topics, strict=True))

    def check(self) -> None:
        """Checks what the ranges cannot say."""
        if not self.prompt.strip():
            raise ParameterError(
                f"prompt: need an instruction such as 'grab the red cube', got {self.prompt!r}"
            )
        check_joint_map(self)
        unknown = [camera for camera in self.cameras if camera not in CAMERAS]
        if unknown or len(set(self.cameras)) != len(self.cameras):
            raise ParameterError(
                f"cameras: need different names out of {list(CAMERAS)}, got {list(self.cameras)}"
            )
        if self.camera_topics and len(self.camera_topics) != len(self.cameras):
            raise ParameterError(
                f"camera_topics: need one for each of {list(self.cameras)}, "
                f"got {list(self.camera_topics)}"
            )
        if 0 < self.image_size < SMALLEST_IMAGE:
            raise ParameterError(
                f"image_size: need 0 or at least {SMALLEST_IMAGE} pixels, got {self.image_size}"
            )
        if self.backend == "replay" and not self.replay_file:
            raise ParameterError("replay_file: the backend 'replay' needs a file")
        if self.backend == "pi0" and not self.checkpoint:
            raise ParameterError(
                "checkpoint: the backend 'pi0' needs a checkpoint: a folder with params/ and "
                "assets/, or a location such as gs://bucket/folder or shipped://sim_handover"
            )
        check_bounds(self, low=("picture_rate", "joint_rate"))
        if self.max_observation_age_s < self.sync_tolerance_s:
            raise ParameterError(
                f"sync_tolerance_s ({self.sync_tolerance_s}) must not exceed "
                f"max_observation_age_s ({self.max_observation_age_s})"
            )
