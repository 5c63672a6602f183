"""The engine: every rule about jobs and leases, with no clock, no I/O and no randomness inside."""
