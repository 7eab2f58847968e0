"""What a source, target, store, metadata store and hash function must promise: one file each."""
