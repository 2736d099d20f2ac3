"""The simulated kit: MuJoCo world, arm protocol servers, cameras, tasks and scripted expert.

MuJoCo chooses its way to OpenGL when it is first imported, so the choice is made here: EGL, which
needs no display. Mesa's software renderer works on the calling thread alone (``LP_NUM_THREADS=0``),
which disturbs the physics thread least. Both can be set otherwise in the environment.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")
