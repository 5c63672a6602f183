"""The shell around the engine: clock, commits, configuration, the running node."""
