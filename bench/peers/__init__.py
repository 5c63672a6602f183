"""What headrace is measured beside: systems that a user would pick instead.

Each module has one kind of system: it starts it on loopback with a directory of its own, drives it
in the way that suits it best, and kills it. `SYSTEMS` is in the order in which they take turns.
"""

from peers.bare import BareAiohttp
from peers.beanstalkd import BeanstalkdMemory, BeanstalkdSynced
from peers.frameworks import Celery, Dramatiq, Rq
from peers.ours import Ours
from peers.peer import Peer
from peers.postgres import Postgres
from peers.redis_streams import RedisAlways, RedisEverySecond

SYSTEMS: dict[str, type[Peer]] = {
    system.name: system
    for system in (
        BareAiohttp,
        Ours,
        RedisAlways,
        BeanstalkdMemory,
        RedisEverySecond,
        BeanstalkdSynced,
        Postgres,
        Rq,
        Dramatiq,
        Celery,
    )
}

__all__ = ["SYSTEMS", "Ours", "Peer"]
