"""What all tests share."""

pytest_plugins = ["fixtures.stalls"]
