"""Weights from the Hugging Face hub: the local cache first, then the network, and a clear error without one."""

import socket
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlparse
from urllib.request import getproxies

from realign.errors import InputError

T = TypeVar("T")


def from_hub(load: Callable[[bool], T], what: str, remedy: str) -> T:
    """Load from the local cache, else from the hub.

    The cache comes first, so that a machine without network does not wait for the hub's retries (about 25 s a file).

    Args:
        load: Called with ``local_files_only``.
        what: Beginning of the error: the files.
        remedy: End of the error: what to do without network.

    Raises:
        InputError: The files are not cached and cannot be downloaded.
    """
    try:
        return load(True)
    except (OSError, ValueError):  # not cached, or only in part
        pass
    host = urlparse(_endpoint()).hostname or ""
    if not _reachable(host):
        raise InputError(f"{what} is not on this machine and {host} cannot be reached; {remedy}.")
    try:
        return load(False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"{what} could not be downloaded ({reason}); {remedy}.") from error


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _reachable(host: str) -> bool:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies().keys() & {"https", "all"}:  # names are then resolved by the proxy
        return True
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
