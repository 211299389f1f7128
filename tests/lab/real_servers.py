"""Real databases and brokers for tests, as layer-build/tools.sh unpacks them: one row of SERVERS each.

None needs root, and those that refuse it are somebody else in a namespace of their own. What they keep is in a folder
of the test's, and they end with it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from installed import tool
from servers import BOUND_S

USER, PASSWORD, DATABASE = "shop_user", "hunter2-password", "shop"
OLD_USER = "old_user"


@dataclass(frozen=True)
class Place:
    """Where a server's programs lie, what it keeps, and the port on the loopback address that it is to take."""

    programs: Path
    data: Path
    port: int

    def program(self, pattern: str) -> str:
        found = sorted(self.programs.glob(pattern))
        assert found, f"{self.programs / pattern} is missing: remove {self.programs}, and run tests/prepare.sh"
        return str(found[-1])


@dataclass(frozen=True)
class Server:
    """How a server is made ready, started, asked whether it answers, and ended."""

    prepare: Callable[[Place], list[tuple[list[str], str]]]
    """Commands that run to their end before it starts, and what each reads."""
    start: Callable[[Place], list[str]]
    hello: bytes
    """The first that a client sends; nothing where the server speaks first."""
    answer: bytes
    """A pattern that the beginning of its answer fits once it works."""
    end: signal.Signals = signal.SIGTERM
    variables: Callable[[Place], dict[str, str]] = lambda place: {}


def _prepare_postgresql(place: Place) -> list[tuple[list[str], str]]:
    bin_, data = "usr/lib/postgresql/*/bin", str(place.data / "data")
    password = place.data / "password"
    password.write_text(PASSWORD)
    options = [f"--username={USER}", f"--pwfile={password}", "--auth=md5", "--encoding=UTF8"]
    # For drivers of an old protocol: one who has no better kind of password.
    commands = f"CREATE DATABASE {DATABASE}\nSET password_encryption = md5\n"
    commands += f"CREATE ROLE {OLD_USER} LOGIN PASSWORD '{PASSWORD}'\n"
    return [
        ([place.program(f"{bin_}/initdb"), "-D", data, "--no-sync", "--no-locale", *options], ""),
        (
            [place.program(f"{bin_}/postgres"), "--single", "-F", "-D", data, "postgres"],
            commands,
        ),
    ]


def _start_postgresql(place: Place) -> list[str]:
    settings = {"listen_addresses": "127.0.0.1", "port": place.port, "unix_socket_directories": place.data}
    fast = {"fsync": "off", "jit": "off", "shared_buffers": "16MB"}
    options = [word for name, value in {**settings, **fast}.items() for word in ("-c", f"{name}={value}")]
    return [place.program("usr/lib/postgresql/*/bin/postgres"), "-D", str(place.data / "data"), *options]


_NOSYNC = "--innodb-flush-method=nosync"


def _prepare_mariadb(place: Place) -> list[tuple[list[str], str]]:
    (place.data / "start.sql").write_text(
        f"CREATE DATABASE {DATABASE};\n"
        f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}';\n"
        f"GRANT ALL ON *.* TO {USER}@'%';\n"
    )
    install = [place.program("usr/bin/mariadb-install-db"), "--no-defaults", f"--basedir={place.programs / 'usr'}"]
    options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", _NOSYNC]
    return [([*install, f"--datadir={place.data / 'data'}", *options], "")]


def _start_mariadb(place: Place) -> list[str]:
    return [
        place.program("usr/sbin/mariadbd"),
        "--no-defaults",
        f"--datadir={place.data / 'data'}",
        f"--lc-messages-dir={place.program('usr/share/mysql')}",
        f"--socket={place.data / 'socket'}",
        f"--init-file={place.data / 'start.sql'}",
        "--bind-address=127.0.0.1",
        f"--port={place.port}",
        "--skip-name-resolve",
        "--innodb-flush-log-at-trx-commit=0",
        _NOSYNC,
    ]


def _start_memcached(place: Place) -> list[str]:
    return [place.program("usr/bin/memcached"), "--listen=127.0.0.1", f"--port={place.port}", "--udp-port=0"]


def _prepare_redis(place: Place) -> list[tuple[list[str], str]]:
    (place.data / "bus").write_text(str(_free_port()))
    return []


def _start_redis(place: Place) -> list[str]:
    """Ready to be a cluster of one: it has no slots before a test gives it all of them."""
    settings = {"bind": "127.0.0.1", "port": place.port, "requirepass": PASSWORD, "save": "", "dir": place.data}
    cluster = {"enabled": "yes", "port": (place.data / "bus").read_text(), "announce-ip": "127.0.0.1"}
    settings |= {f"cluster-{name}": value for name, value in cluster.items()}
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [place.program("usr/bin/redis-server"), *options]


def _prepare_rabbitmq(place: Place) -> list[tuple[list[str], str]]:
    # Erlang's own looks for its files where a package would have put them.
    erl = place.data / "erl"
    erl.write_text('#!/bin/sh\nexec "$BINDIR/erlexec" "$@"\n')
    erl.chmod(0o755)
    (place.data / "epmd").write_text(str(_free_port()))
    (place.data / "distribution").write_text(str(_free_port()))
    return []


def _start_rabbitmq(place: Place) -> list[str]:
    """With the nodes' daemon as its child, which it would else leave behind."""
    server = place.program("usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server")
    return ["sh", "-c", f'setpriv --pdeathsig KILL "$BINDIR/epmd" & exec {server}']


def _of_rabbitmq(place: Place) -> dict[str, str]:
    erlang = place.programs / "usr/lib/erlang"
    node = {
        "NODENAME": "rabbit@localhost",
        "NODE_IP_ADDRESS": "127.0.0.1",
        "NODE_PORT": str(place.port),
        "DIST_PORT": (place.data / "distribution").read_text(),
        "MNESIA_BASE": str(place.data),
        "LOG_BASE": str(place.data),
        "ENABLED_PLUGINS_FILE": str(place.data / "plugins"),
        "CONFIG_FILE": str(place.data / "config"),
        "CONF_ENV_FILE": str(place.data / "environment"),
    }
    return {
        "PATH": f"{place.data}:{os.defpath}",
        "ROOTDIR": str(erlang),
        "BINDIR": place.program("usr/lib/erlang/erts-*/bin"),
        # Its script then becomes the server, and leaves none behind when it is killed.
        "RUNNING_UNDER_SYSTEMD": "true",
        "EMU": "beam",
        "PROGNAME": "erl",
        "ERL_EPMD_PORT": (place.data / "epmd").read_text(),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        **{f"RABBITMQ_{name}": value for name, value in node.items()},
    }


def _prepare_nothing(place: Place) -> list[tuple[list[str], str]]:
    return []


_POSTGRESQL_STARTUP = b"\0\3\0\0user\0" + USER.encode() + b"\0\0"

SERVERS = {
    "postgresql": Server(
        _prepare_postgresql,
        _start_postgresql,
        (len(_POSTGRESQL_STARTUP) + 4).to_bytes(4, "big") + _POSTGRESQL_STARTUP,
        b"R",
        end=signal.SIGQUIT,
    ),
    "mariadb": Server(_prepare_mariadb, _start_mariadb, b"", rb"...\0\n"),
    "memcached": Server(_prepare_nothing, _start_memcached, b"version\r\n", b"VERSION "),
    "rabbitmq": Server(
        _prepare_rabbitmq, _start_rabbitmq, b"AMQP\0\0\x09\1", b"\1", signal.SIGKILL, variables=_of_rabbitmq
    ),
    "redis": Server(_prepare_redis, _start_redis, b"PING\r\n", b"-NOAUTH"),
}


@contextmanager
def running(name: str, folder: Path) -> Iterator[int]:
    """Starts the server and gives its port once it answers."""
    server, programs = SERVERS[name], tool("server", name)
    folder.mkdir(exist_ok=True)
    said = folder / "output"
    place = Place(programs, folder, 0)
    for command, given in server.prepare(place):
        done = subprocess.run(
            _as_nobody(command),
            input=given,
            env=_environment(server, place),
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    # Somebody else may take the port in between: then another one.
    for _ in range(5):
        place = Place(programs, folder, _free_port())
        with said.open("wb") as output:
            process = subprocess.Popen(
                _as_nobody(server.start(place)),
                env=_environment(server, place),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            if _wait_for_answer(process, server, place.port):
                yield place.port
                return
        finally:
            process.send_signal(server.end)
            try:
                process.wait(BOUND_S)
            finally:
                process.kill()
    raise AssertionError(f"{name} does not start: {said.read_text(errors='replace')[-2000:]}")


def _wait_for_answer(process: subprocess.Popen[bytes], server: Server, port: int) -> bool:
    """False where the process has ended before it answered."""
    deadline = time.monotonic() + BOUND_S
    while process.poll() is None:
        assert time.monotonic() < deadline, f"{process.args} does not answer"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(server.hello)
                if re.match(server.answer, connection.recv(64), re.DOTALL):
                    return True
        except OSError:
            pass
        time.sleep(0.02)
    return False


def _as_nobody(command: list[str]) -> list[str]:
    """Ends with the tests, and is not root, which PostgreSQL refuses to be, though the same files are its own."""
    ends_with_tests = ["setpriv", "--pdeathsig", "KILL", *command]
    if os.geteuid() != 0:
        return ends_with_tests
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000", *ends_with_tests]


def _environment(server: Server, place: Place) -> dict[str, str]:
    libraries = [str(path) for path in place.programs.glob("**/lib/*-linux-gnu")]
    return {
        "PATH": f"{place.programs}/usr/bin:{os.defpath}:/usr/sbin",
        "HOME": str(place.data),
        "LC_ALL": "C",
        "LD_LIBRARY_PATH": ":".join(libraries),
        **server.variables(place),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
