"""The node of the simulated kit: camera topics, ground truth, status, reset."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from trossen_pi0_core.contract import CAMERAS, NANOSECONDS
from trossen_pi0_core.diagnostics import Aspect, RecentCounts
from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.parameters import SimParameters
from trossen_pi0_core.parameters.bounds import bounds_of
from trossen_pi0_msgs.msg import GroundTruth, SimStatus
from trossen_pi0_msgs.srv import ResetSim
from trossen_pi0_ros.convert import time_msg
from trossen_pi0_ros.diagnostics import Diagnostics
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import run_node
from trossen_pi0_ros.qos import STATUS, image_qos
from trossen_pi0_sim.cameras import CameraStreams, intrinsics
from trossen_pi0_sim.clocks import ClockOffset
from trossen_pi0_sim.physics_messages import Report
from trossen_pi0_sim.physics_process import PhysicsProcess
from trossen_pi0_sim.progress import Stage
from trossen_pi0_sim.scene import build_model
from trossen_pi0_sim.tasks import find_variant

_SLOW = 0.95
_WARN_EVERY_S = 10.0
_DIAGNOSTICS_S = 1.0


class SimNode(Node):
    """Runs the simulated kit in real time.

    Physics and arm servers are a process of their own; pictures are rendered and published on a
    thread of their own.
    """

    def __init__(self) -> None:
        super().__init__("sim")
        self._settings = NodeParameters(self, SimParameters)
        parameters = self._settings.value
        self._physics = PhysicsProcess(
            parameters.seed, parameters.variant, parameters.arm_addresses
        )
        self._physics.start()
        self._model = build_model()
        self._images = {camera: self._image_message(camera) for camera in CAMERAS}
        self._streams = CameraStreams(
            self._model,
            lambda: self._physics.report,
            (parameters.width, parameters.height),
            parameters.fps,
            {camera: image.data for camera, image in self._images.items()},
            self._publish_picture,
        )
        self._infos = {camera: self._info_message(camera) for camera in CAMERAS}
        qos = image_qos(parameters.image_reliability)
        self._image_publishers = {
            camera: self.create_publisher(Image, f"/{camera}/color/image_raw", qos)
            for camera in CAMERAS
        }
        self._info_publishers = {
            camera: self.create_publisher(CameraInfo, f"/{camera}/color/camera_info", qos)
            for camera in CAMERAS
        }
        self._truth = self.create_publisher(GroundTruth, "/sim/ground_truth", STATUS)
        self._status = self.create_publisher(SimStatus, "/sim/status", STATUS)
        self._stage = Stage.NONE
        self._failed = False
        clock = self.get_clock()
        self._clock_offset = ClockOffset(time.monotonic_ns, lambda: clock.now().nanoseconds)
        self._shown: tuple[Report | None, Time] = (None, Time())
        self._start()
        self.create_service(ResetSim, "/sim/reset", self._reset)
        self._diagnostics = Diagnostics(self)
        self._skipped = RecentCounts()
        self.create_timer(1.0 / parameters.status_rate, self._report)
        self.create_timer(_DIAGNOSTICS_S, self._publish_diagnostics)

    def _start(self) -> None:
        try:
            self._physics.wait_until_ready()
            self._streams.start()
        except TrossenPi0Error:
            self.close()
            raise
        parameters = self._settings.value
        self.get_logger().info(
            f"arms served on {list(parameters.arm_addresses)}; four cameras at "
            f"{parameters.width}x{parameters.height}, {parameters.fps:g} Hz; "
            f"{parameters.variant}, seed {parameters.seed}"
        )

    def close(self) -> None:
        """Ends all threads and frees the arms' addresses."""
        self._streams.stop()
        self._physics.stop()

    # -- rendering thread ----------------------------------------------------------------------

    def _publish_picture(self, camera: str, report: Report) -> None:
        if report is not self._shown[0]:
            self._shown = (report, self._stamp(report))
        stamp = self._shown[1]
        image, info = self._images[camera], self._infos[camera]
        image.header.stamp = info.header.stamp = stamp
        self._image_publishers[camera].publish(image)
        self._info_publishers[camera].publish(info)

    # -- callbacks -----------------------------------------------------------------------------

    def _report(self) -> None:
        failure = self._physics.failure or self._streams.failure
        if failure is not None:
            raise failure
        self._clock_offset.refresh()
        self._publish_state()
        factor = self._physics.report.real_time_factor
        if factor < _SLOW:
            self.get_logger().warning(
                f"the simulation runs at {factor:.2f} of real time: give it more processor time "
                "or smaller or fewer pictures (width, height, fps)",
                throttle_duration_sec=_WARN_EVERY_S,
            )

    def _publish_diagnostics(self) -> None:
        report, parameters = self._physics.report, self._settings.value
        world = Aspect("world", fine=f"{report.variant}, seed {report.seed}")
        bounds = bounds_of(parameters, "real_time_factor")
        world.low("real-time factor", report.real_time_factor, bounds)
        pictures = Aspect("pictures", fine="all in time")
        totals = {"skipped": self._streams.skipped}
        skipped = self._skipped.risen(totals, time.monotonic())["skipped"]
        pictures.figures({"published": self._streams.published, **totals})
        pictures.high("skipped [1/min]", skipped, bounds_of(parameters, "skipped"))
        self._diagnostics.publish(world, pictures)

    def _publish_state(self) -> None:
        report = self._physics.report
        header = Header(stamp=self._stamp(report))
        if (report.stage, report.failed) != (self._stage, self._failed):
            self._stage, self._failed = report.stage, report.failed
            said = report.reason or report.stage.name.lower().replace("_", " ")
            self.get_logger().info(f"{report.variant}, seed {report.seed}: {said}")
        self._status.publish(
            SimStatus(
                header=header,
                real_time_factor=report.real_time_factor,
                sim_time_s=report.time_s,
                images_published=self._streams.published,
                images_skipped=self._streams.skipped,
                seed=report.seed,
                variant=report.variant,
                stage=int(report.stage),
                success=report.stage == Stage.PLACED,
                failed=report.failed,
                reason=report.reason,
            )
        )
        x, y, z, qw, qx, qy, qz = report.object_pose.tolist()
        half_x, half_y, half_z = find_variant(report.variant).half_size
        self._truth.publish(
            GroundTruth(
                header=Header(stamp=header.stamp, frame_id="world"),
                variant=report.variant,
                seed=report.seed,
                object_pose=Pose(
                    position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw)
                ),
                object_half_size=Vector3(x=half_x, y=half_y, z=half_z),
            )
        )

    def _reset(self, request: ResetSim.Request, response: ResetSim.Response) -> ResetSim.Response:
        try:
            self._physics.reset(request.seed, request.variant or None)
        except TrossenPi0Error as error:
            response.success = False
            response.message = str(error)
            self.get_logger().error(f"reset refused: {error}")
            return response
        report = self._physics.report
        response.success = True
        response.message = f"{report.variant}, seed {report.seed}"
        self._stage, self._failed = Stage.NONE, False
        self.get_logger().info(f"new episode: {response.message}")
        self._publish_state()
        return response

    # -- messages ------------------------------------------------------------------------------

    def _stamp(self, report: Report) -> Time:
        """ROS time of a report's instant."""
        return time_msg(int(report.wall_s * NANOSECONDS) + self._clock_offset.ns)

    def _image_message(self, camera: str) -> Image:
        parameters = self._settings.value
        message = Image(
            header=Header(frame_id=_frame(camera)),
            height=parameters.height,
            width=parameters.width,
            encoding="rgb8",
            step=3 * parameters.width,
        )
        # Set once and filled in place: each assignment would cost 2 ms.
        message.data = bytes(message.step * message.height)
        return message

    def _info_message(self, camera: str) -> CameraInfo:
        parameters = self._settings.value
        matrix = intrinsics(self._model, camera, parameters.width, parameters.height).matrix
        projection = [*matrix[0], 0.0, *matrix[1], 0.0, *matrix[2], 0.0]
        return CameraInfo(
            header=Header(frame_id=_frame(camera)),
            height=parameters.height,
            width=parameters.width,
            distortion_model="plumb_bob",
            d=[0.0] * 5,
            k=matrix.ravel(),
            r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            p=projection,
        )


def _frame(camera: str) -> str:
    return f"{camera}_color_optical_frame"


def main(args: Sequence[str] | None = None) -> int:
    """Runs the node; returns the exit status."""
    return run_node(SimNode, args)


if __name__ == "__main__":
    sys.exit(main())
