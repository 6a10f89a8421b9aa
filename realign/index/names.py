"""Finds equal names among many, from 16 bytes of each, so that millions need no set in memory."""

import hashlib
import json
from collections.abc import Iterable
from itertools import islice

import numpy as np
from jaxtyping import Int, UInt64


def name_digests(names: Iterable[str]) -> UInt64[np.ndarray, "N 2"]:
    """128-bit hashes of names."""
    digests = bytearray()
    for name in names:
        digests += hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=16).digest()
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def first_places(digests: UInt64[np.ndarray, "N 2"]) -> Int[np.ndarray, "K"]:
    """Positions of the first occurrence of each different name, ascending."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: of the same names, the first comes first
    ordered = digests[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    return np.sort(order[new])


def index_digest(fingerprint: str, factory: str, ids: Iterable[str]) -> str:
    """Name of what can be found: the model, how vectors are kept, and the ids of the motions."""
    digest = hashlib.sha256(f"{json.dumps([fingerprint, factory])[:-1]}, [".encode())
    rest, comma = iter(ids), ""
    while part := list(islice(rest, 4096)):  # as one list of all would be written
        digest.update(f"{comma}{json.dumps(part)[1:-1]}".encode())
        comma = ", "
    digest.update(b"]]")
    return digest.hexdigest()[:16]
