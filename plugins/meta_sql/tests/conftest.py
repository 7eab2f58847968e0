"""What the tests of the SQL metadata plugin share."""

from __future__ import annotations

import sys
from pathlib import Path

# The tests are imported one by one, not as a package: their shared modules are found here.
sys.path.insert(0, str(Path(__file__).parent))
