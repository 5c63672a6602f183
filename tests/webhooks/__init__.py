"""Webhooks: only loopback is ever connected to, and no test waits for a time."""
