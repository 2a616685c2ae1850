"""From folders to a server that runs until it is told to stop; SIGTERM lets the answers under way end."""

import json
import logging
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from blockyard.core.errors import UsageError
from blockyard.serve.limits import Limits

GRACE = 30  # seconds that answers under way have when the server is told to stop


def serve(
    models: Sequence[str], *, host: str = "127.0.0.1", port: int = 8000, limits: Limits | None = None,
    keys: Sequence[str] = (),
) -> None:  # fmt: skip
    """Answer over HTTP for the models in these folders until SIGTERM or Ctrl-C.

    models   folders, OUT:ARM of a comparison, or NAME=FOLDER; a folder by itself answers to its own name
    host     the address; 127.0.0.1: this machine only        port   0: any that is free
    keys     who brings none of these is refused; none: everybody is answered
    """
    try:
        import uvicorn

        from blockyard.serve.app import make_app
        from blockyard.serve.engine import Engine
    except ImportError as error:
        raise UsageError(f"serving needs {error.name}: pip install 'blockyard[serve]'") from None

    limits = limits or Limits()
    named = names_of(models)
    listening = _listening(host, port)
    engines = {name: Engine(name, folder, limits) for name, folder in named.items()}
    app = make_app(engines, limits, keys)
    address = f"http://{host}:{listening.getsockname()[1]}"
    print(f"{', '.join(engines)} at {address}/v1", file=sys.stderr, flush=True)
    _log_lines()
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE, h11_max_incomplete_event_size=1 << 16,
        server_header=False,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def names_of(models: Sequence[str]) -> dict[str, str]:
    """The folder of every name."""
    found: dict[str, str] = {}
    for each in models:
        name, given, folder = each.partition("=")
        folder = folder if given else each
        name = name if given else folder.rpartition(":")[2] if ":" in folder else Path(folder).resolve().name
        if not name or not folder:
            raise UsageError(f"{each!r} is no model: give a folder, OUT:ARM, or NAME=FOLDER")
        if name in found:
            raise UsageError(f"two models are called {name}: give one of them another name, as other={folder}")
        found[name] = folder
    return found


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen at {host}:{port}: {error}") from None


class _Lines(logging.Formatter):
    """A line of JSON for each record."""

    def format(self, record: logging.LogRecord) -> str:
        said = record.getMessage()
        fields = json.loads(said) if said.startswith("{") else {"message": said}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return json.dumps({"time": f"{moment}Z", "level": record.levelname.lower(), **fields})


def _log_lines() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    for name in ("blockyard.serve", "uvicorn"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO if name == "blockyard.serve" else logging.WARNING)
