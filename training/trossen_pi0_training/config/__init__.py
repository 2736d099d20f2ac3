"""What a training is made of: frozen dataclasses, presets, and the command line over them."""
