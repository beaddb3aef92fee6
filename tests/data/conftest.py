"""Let the tests of this folder import ``made_clips`` in any import mode of pytest."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
