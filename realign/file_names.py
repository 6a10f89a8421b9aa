"""Names of the files in folders of weights, indexes and prepared sets."""

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
GUIDANCE = "guidance.yaml"  # beside a generator's weights
SUMS, CARD = "SHA256SUMS", "README.md"  # in folders written for the Hub
META = "meta.json"  # of an index, and of a prepared set
