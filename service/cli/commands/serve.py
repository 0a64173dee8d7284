"""``nuwa serve``: the HTTP API and the web page over the database."""

import os
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.documents import read_text
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.home import expanded
from nuwa_search.core.interrupts import end_like_ctrl_c
from nuwa_search.core.settings import default_cache_dir, default_db_url
from nuwa_search.service.cli.command import ServiceCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.service_log import log_to_stderr

if TYPE_CHECKING:
    from nuwa_search.service.api.settings import ServiceSettings

MAX_TOKEN_BYTES = 64 * 1024
"""Of its file; a token has some dozens of characters."""
MIN_TOKEN_LENGTH = 16
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
BACKLOG = 2048  # uvicorn's own
SHUTDOWN_S = 3
"""For requests to end when the service stops; event streams end by themselves, and clients come back."""


@click.command("serve", cls=ServiceCommand)
@click.option(
    "--host",
    default="127.0.0.1",
    envvar="NUWA_HOST",
    show_default=True,
    help="Address to listen on; another wants a token.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    envvar="NUWA_PORT",
    show_default=True,
    help="Port to listen on.",
)
@click.option("--root", "roots", multiple=True, metavar="DIR", help="Data root; may be repeated.  [./runs]")
@click.option(
    "--token-file",
    metavar="FILE",
    envvar="NUWA_TOKEN_FILE",
    help="File with the token that clients must show; or NUWA_TOKEN.",
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Name that requests may be addressed to.")
@click.option("--hub", is_flag=True, help="Let clients name bases and data on the Hub.")
@click.option("--workers", type=click.IntRange(0, 64), default=1, show_default=True, help="Worker processes to keep.")
@with_flags("cache-dir", writes=True)
def command(
    host: str,
    port: int,
    roots: tuple[str, ...],
    token_file: str | None,
    hosts: tuple[str, ...],
    hub: bool,
    workers: int,
    **values: Any,
) -> int:
    """Answer programs and browsers over HTTP, and keep workers that do what is started from there.

    Paths that clients name must lie in the data roots; bundles are downloaded from there only. Relative ones start at
    the first root.
    """
    output = output_from_flags(values)
    end_like_ctrl_c()  # uvicorn raises it again once it has stopped; workers are to end too
    for name in ("fastapi", "uvicorn", "prometheus_client"):
        if find_spec(name) is None:
            hint = "pip install 'nuwa-search[serve]'"
            raise NuwaError(f"`nuwa serve` needs {name}, which is not installed", hint=hint)
    settings = settings_from(host, roots, token_file, hosts, is_hub_allowed=hub)
    log_to_stderr(is_verbose=not values["quiet"])
    import uvicorn

    from nuwa_search.service.api.app import create_app
    from nuwa_search.service.api.timed_protocol import TimedProtocol
    from nuwa_search.service.worker.pool import WorkerPool

    with ExitStack() as stack:
        store = stack.enter_context(database(values))
        config = uvicorn.Config(
            create_app(store, settings),
            host=host,
            port=port,
            http=TimedProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        socket = bound_socket(config)
        if workers and find_spec("torch") is None:
            output.note(
                "torch is not installed, so no worker runs here: what is queued waits for a `nuwa worker` elsewhere"
            )
        elif workers:
            url = values["db"] or default_db_url()
            cache_dir = values["cache_dir"] or str(default_cache_dir())
            stack.enter_context(WorkerPool(workers, db_url=_absolute_url(url), cache_dir=cache_dir))
        address = f"http://{_shown(host)}:{socket.getsockname()[1]}/"
        output.note(f"the page and the API are at {address}  (Ctrl-C ends them; queued work stays queued)")
        with suppress(KeyboardInterrupt):  # raised again by uvicorn once it has stopped
            uvicorn.Server(config).run(sockets=[socket])
    return 0


def settings_from(
    host: str, roots: tuple[str, ...], token_file: str | None, hosts: tuple[str, ...], *, is_hub_allowed: bool
) -> "ServiceSettings":
    """Check the options of the command and return the settings of the service.

    Args:
        host: Address to listen on.
        roots: Data roots; empty for ``./runs``, which is made.
        token_file: File with the token; None takes NUWA_TOKEN, if it is set.
        hosts: Further names that requests may be addressed to.
        is_hub_allowed: Whether clients may name bases and data on the Hub.

    Raises:
        NuwaError: If a root is no folder, or an address other than this machine's goes without a token.
    """
    from nuwa_search.service.api.settings import ServiceSettings

    token = _token(token_file)
    if token is None and not is_loopback(host):
        raise NuwaError(
            f"listening on {host} lets others in, and needs a token",
            hint="give --token-file FILE (make one with: openssl rand -hex 32 > FILE), or set NUWA_TOKEN",
        )
    folders = tuple(expanded(root).resolve() for root in roots or ("runs",))
    for folder in folders:
        if not roots:
            folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise NuwaError(f"data root {folder} is no folder", hint="make it, or name another with --root")
    allowed = tuple(name.casefold() for name in hosts)
    if token is None:
        allowed = (*LOOPBACK_NAMES, host.casefold(), *allowed)
    return ServiceSettings(roots=folders, token=token, allowed_hosts=allowed, is_hub_allowed=is_hub_allowed)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _token(path: str | None) -> str | None:
    """Read the token from its file, else from the environment."""
    if path is None:
        token = os.environ.get("NUWA_TOKEN")
        where = "NUWA_TOKEN"
    else:
        where = f"token file {path}"
        token = read_text(expanded(path), what="token file", max_bytes=MAX_TOKEN_BYTES).strip()
    if token is None:
        return None
    if len(token) < MIN_TOKEN_LENGTH or not (token.isascii() and token.isprintable()) or set(token) & set(' ;,"\\'):
        raise NuwaError(
            f"{where} holds no token of at least {MIN_TOKEN_LENGTH} plain letters and digits",
            hint="make one with: openssl rand -hex 32",
        )
    return token


def bound_socket(config: Any) -> Any:
    """Take the port, or say who cannot have it; uvicorn itself would end the process.

    Raises:
        OutsideError: If the address is taken or not this machine's.
    """
    import socket

    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # named as TCP: asyncio turns off the delay of small packets (40 ms each) only where it is
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((config.host, config.port))
        taken.listen(BACKLOG)  # at once: whoever reads the address below may come before uvicorn is ready
    except OSError as error:
        taken.close()
        raise OutsideError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}", hint="choose another one with --port"
        ) from error
    taken.set_inheritable(False)
    return taken


def _absolute_url(url: str) -> str:
    """Make a SQLite path absolute, so that a worker finds the same file from anywhere."""
    return url if "://" in url else str(expanded(url).absolute())


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
