"""Files and folders that appear under their name complete, or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; the file written there becomes `path` when the block ends.

    Renaming is atomic, so a reader finds the old file or the new one, and never a part. When the block raises an error,
    the temporary file is removed and `path` stays as it was. The folder is created if necessary.

    Args:
        path: the file to create or to replace.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; its folder is created if necessary."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically; its folder is created if necessary."""
    write_bytes(path, text.encode())


@contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to `path` when the block ends without an error.

    Args:
        path: the folder to create; it must not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        folder = Path(temporary) / path.name
        folder.mkdir()
        yield folder
        folder.rename(path)
