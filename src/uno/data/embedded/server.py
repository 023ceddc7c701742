"""A running server, and what is known of it from the files it writes."""

import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

USER = "uno"
SSL_REQUEST = bytes.fromhex("00000008 04d2162f")  # needs no password; PostgreSQL's manual, "Message Formats"


@dataclass(frozen=True)
class EmbeddedServer:
    """How to reach a running embedded server: over loopback, or by the socket in `socket_dir`."""

    folder: Path
    port: int
    pid: int
    socket_dir: Path
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """The URL of the maintenance database; it contains the password."""
        return self.url_for("postgres")

    def url_for(self, database: str) -> str:
        """The URL of a database, which need not exist; it contains the password."""
        return f"postgresql://{USER}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{quote(database, safe='')}"


@dataclass(frozen=True)
class Postmaster:
    """What PostgreSQL wrote into `postmaster.pid`; it may be of a server that died."""

    pid: int
    port: int
    socket_dir: str
    state: str

    def answers(self) -> bool:
        """Whether it replies at its socket, which a dead server, a zombie or another process does not."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5.0)
            try:
                client.connect(f"{self.socket_dir}/.s.PGSQL.{self.port}")
                client.sendall(SSL_REQUEST)
                return client.recv(1) in (b"N", b"S")
            except OSError:
                return False

    def is_ready(self) -> bool:
        return self.state == "ready" and self.answers()


def postmaster_in(data: Path) -> Postmaster | None:
    """The server that says it runs in `data`, once it has said where it listens."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 8:  # the state comes last
        return None
    return Postmaster(pid=int(lines[0]), port=int(lines[3]), socket_dir=lines[4], state=lines[7].strip())


def is_durable(data: Path) -> bool:
    """Whether the server in `data` was started with fsync."""
    return "fsync=off" not in (data / "postmaster.opts").read_text()
