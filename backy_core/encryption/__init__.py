"""The keys of an encrypted repository: how they are derived, kept, opened and written down. See `docs/format.md`, keys.

Only an encrypted repository, and the command `backy key`, load these modules.
"""
