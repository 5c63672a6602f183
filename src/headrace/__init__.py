"""headrace: a durable job queue server that needs no database beside it."""

__version__ = "0.1.0"
