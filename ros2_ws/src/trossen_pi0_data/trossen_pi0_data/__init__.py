"""Episodes: recording and replay in ROS, reading and writing them without it."""
