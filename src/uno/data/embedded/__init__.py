"""PostgreSQL without an installation: the binaries come with pip, the server stops with its last user.

    with acquire() as lease:
        print(lease.server.url)

Any number of processes may `acquire` one folder: they share one server. Who uses it is known by
file locks, which the kernel drops however a process ends, so nothing is counted and nothing is left.
"""

from uno.data.embedded.databases import ensure_database
from uno.data.embedded.folder import command, default_folder
from uno.data.embedded.server import EmbeddedServer
from uno.data.embedded.sharing import Lease, Status, acquire, acquire_async, start, status, stop

__all__ = [
    "EmbeddedServer",
    "Lease",
    "Status",
    "acquire",
    "acquire_async",
    "command",
    "default_folder",
    "ensure_database",
    "start",
    "status",
    "stop",
]
