"""What outlives the process: effects become rows, rows become jobs again.

**Invariant:** nothing here decides. A row is written because an effect says so; states, leases and
tries are the engine's business.
"""

from headrace.store.store import Batch, Store, open_store

__all__ = ["Batch", "Store", "open_store"]
