"""Read pytest's output (-rs) and fail on a test that is skipped for a reason that is not allowed.

``.ci/skips.py ALLOWED <LOG``: a line of ALLOWED is ``<test file>: <reason>``, or a comment with ``#``.
"""

import re
import sys
from pathlib import Path

SKIP = re.compile(r"^SKIPPED \[\d+\] ([^\s:]+?)(?::\d+)?: (.*)$")


def unlisted(log: str, allowed: str) -> list[str]:
    """Return the skips in ``log``, as ``<test file>: <reason>``, that no line of ``allowed`` lists."""
    lines = {line.strip() for line in allowed.splitlines() if line.strip() and not line.startswith("#")}
    skips = [f"{match[1]}: {match[2].strip()}" for line in log.splitlines() if (match := SKIP.match(line))]
    return sorted({skip for skip in skips if skip not in lines})


def main() -> int:
    """Print the skips that are not allowed; return 1 if there are any."""
    found = unlisted(sys.stdin.read(), Path(sys.argv[1]).read_text())
    for skip in found:
        print(f"skipped, and not listed in {sys.argv[1]}: {skip}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
