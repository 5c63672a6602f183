"""Webhooks: events out, signed, to addresses that may be reached. Knows no engine and no store.

`contract.py` has the edges (outbox, endpoints, clock); `dispatch.py` decides who is tried when,
without a clock of its own; `deliverer.py` runs it; `sending.py` is the only file that connects.
"""
