"""Names of the files in folders of weights, indexes and prepared sets, and suffixes of motions."""

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
GUIDANCE = "guidance.yaml"  # beside a generator's weights
SUMS, CARD = "SHA256SUMS", "README.md"  # in folders written for the Hub
META = "meta.json"  # of an index, and of a prepared set
GLTF = (".glb", ".gltf")
READ_MOTIONS = (".npy", ".npz", ".bvh", *GLTF)
WRITTEN_MOTIONS = (".gif", ".mp4", ".html", ".png", ".bvh", ".npy", ".npz", ".glb")
"""Suffixes of motion files that are read and written."""
