"""What the suite knows without ROS and without JAX."""
