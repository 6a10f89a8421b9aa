"""Making a prepared set from a folder of motions."""
