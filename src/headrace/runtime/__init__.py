"""The shell around the engine: clock, pump, configuration."""
