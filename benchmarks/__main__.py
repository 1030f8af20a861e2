"""All benchmarks, one after the other: `make artifacts`."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("endpoint", "loop", "garbage")


def main() -> int:
    """Run each in a process of its own; 0 if all ran."""
    codes = [subprocess.call([sys.executable, "-m", f"benchmarks.{name}"]) for name in BENCHMARKS]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
