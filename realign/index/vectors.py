"""Checks of vectors before they are added to an index."""

from typing import Any

import numpy as np

from realign.errors import InputError


def unit_vectors(embeddings: Any, what: str, dim: int | None = None) -> np.ndarray:
    """Check embeddings and divide them by their norms.

    Args:
        embeddings: NumPy array or tensor of any float type and device, (N, E).
        what: Their name in errors.
        dim: The width they must have.

    Returns:
        A new contiguous float32 array.

    Raises:
        InputError: Another shape or width, or a row with NaN, infinity or only zeros.
    """
    if hasattr(embeddings, "detach"):  # a tensor, without importing torch for the sake of a NumPy array
        embeddings = embeddings.detach().float().cpu().numpy()
    vectors = np.array(embeddings, dtype=np.float32, order="C")
    if vectors.ndim != 2 or vectors.shape[1] != (dim or vectors.shape[1] or -1):
        raise InputError(
            f"the {what} have shape {vectors.shape}; give one row of width {dim or 'E'} per motion or caption"
        )
    norms = np.sqrt(np.einsum("ne,ne->n", vectors, vectors))
    if len(bad := np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))):
        raise InputError(f"row {bad[0]} of the {what} holds NaN, infinity or only zeros; leave such rows out")
    vectors /= norms[:, None]
    return vectors
