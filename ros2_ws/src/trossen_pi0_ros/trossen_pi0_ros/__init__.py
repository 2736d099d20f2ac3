"""The ROS side that the nodes share."""
