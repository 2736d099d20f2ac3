"""The ROS side of the policy node, in parts."""
