"""The on-store format: how objects are named and wrapped. `docs/format.md` describes it for other readers."""
