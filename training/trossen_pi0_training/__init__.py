"""Looks at episodes, converts them to data sets, trains and evaluates policies. Never ROS."""
