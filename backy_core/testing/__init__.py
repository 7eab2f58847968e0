"""Contract suites for plugin authors, one module per kind; importing this package imports none of them."""

from __future__ import annotations
