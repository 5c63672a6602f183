"""Of the single file: the program's own modules come first.

`PYTHONPATH`, and what the user has installed, may add modules for handlers. They must not take the
place of ours.
"""

import sys

_OURS = f"{sys.prefix}/lib/"
sys.path.sort(key=lambda path: not path.startswith(_OURS))
sys.path[:] = dict.fromkeys(sys.path)
