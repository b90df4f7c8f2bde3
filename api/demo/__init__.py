"""The demonstration: an invented company, its invented breach, and the main job run over both."""
