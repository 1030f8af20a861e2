"""Run all benchmarks, one after the other: `make bench`."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("endpoint", "loop", "garbage", "forwarder", "calculator_costs")


def main() -> int:
    """Run each benchmark in a process of its own, and return 0 if all ended without an error."""
    codes = [subprocess.call([sys.executable, "-m", f"benchmarks.{name}"]) for name in BENCHMARKS]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
