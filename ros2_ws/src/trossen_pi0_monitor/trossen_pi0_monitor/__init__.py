"""What the kit plans and does, drawn: planned gripper paths, the path gone, status as text."""
