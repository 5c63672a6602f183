"""Deterministic simulation: the shipping engine, store, pump and clock in a world made of a seed.

world.py      virtual time, the event loop that the pump runs on, the random numbers
settings.py   what a seed turns on: faults, weights, sizes
disk.py       the rows under the store, with latency and faults
server.py     one server's life: start, crash, stop, stall, and what is seen of it
net.py        requests and answers, late, lost or twice
clients.py    who submits; workers.py: who runs
model.py      the reference queue, from commands, replies and effects only
checkers.py   what must hold, each with a name
run.py        one seed from start to drain
mutants.py    planted defects that the checkers must find
"""
