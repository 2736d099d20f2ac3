"""What all tests share."""

pytest_plugins = ["fixtures.interrupts", "fixtures.stalls"]
