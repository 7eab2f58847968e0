"""What the core brings along itself, by the standard library alone: the directory store and the hashes of hashlib."""
