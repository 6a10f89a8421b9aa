"""Names of the files in folders of weights, indexes and prepared sets, and suffixes of motions."""

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
GUIDANCE = "guidance.yaml"  # beside a generator's weights
SUMS, CARD = "SHA256SUMS", "README.md"  # in folders written for the Hub
META = "meta.json"  # of an index, and of a prepared set
OUTPUTS = ("prepared", "imported", "indexes", "runs")
"""Folders below the current one that configurations and documents name: commands fill them."""
GLTF = (".glb", ".gltf")
READ_MOTIONS = (".npy", ".npz", ".bvh", *GLTF)
WRITTEN_MOTIONS = (".gif", ".mp4", ".html", ".png", ".bvh", ".npy", ".npz", ".glb")
"""Suffixes of motion files that are read and written."""
SET_TABLES = ("ids", "captions", "caption_offsets", "tokens", "token_offsets")
SET_ARRAYS = tuple(f"{name}.npy" for name in ("features", "clips", "Mean", "Std", *SET_TABLES))
ACTIONS = ("actions", "action_offsets")
"""Arrays that a set of named actions holds, too."""
SET_FILES = (META, *SET_ARRAYS, *(f"{name}.npy" for name in ACTIONS), "train.txt", "val.txt", "test.txt")
"""Files of a prepared set, without its report."""
