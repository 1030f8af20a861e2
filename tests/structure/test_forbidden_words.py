"""No file names this machine, a registry, an issue or an author's tools."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from source_code import ROOT

BINARY = {".xz", ".png", ".zip", ".parquet", ".jar"}
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.~-])/(work|root|home|Users)/\w|\.pyenv/|\.\./shared\b",
    "a package registry's host": r"pypi\.org|pythonhosted\.org|npmjs\.|artifactory|/simple/|index-url[ =]https?:",
    "who wrote it, and how": r"(?i)\b(chatgpt|claude|copilot|llm)\b|\bsub-?agents?\b|\bAI[- ](assistant|generated)\b",
    "an issue by its number": r"(?i)\bissue #?\d+\b|\bDESIGN\.md\b|\bSTYLE\.md\b|\bcontracts\.md\b",
    "work that was left": r"\b(TODO|FIXME|XXX|HACK)\b",
}


def files() -> list[Path]:
    """Return all text files of the repository, those that are not committed yet too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    here = [ROOT / line for line in listed.stdout.splitlines()]
    return [path for path in here if path.is_file() and path.suffix not in BINARY and path != Path(__file__)]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what: str) -> None:
    found = []
    for path in files():
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if re.search(FORBIDDEN[what], line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found
