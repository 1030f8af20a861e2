"""Files that the assets of one training hand on: each run has a folder, and a lone asset finds the newest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_assets.errors import NotReady
from mlops_assets.files import replacing, write_text


class RunArtifacts:
    """The trainings of one project.

    Args:
        folder: holds a folder per run.
        project: for messages.
        run_id: the run that asks.
    """

    def __init__(self, folder: Path, project: str, run_id: str) -> None:
        self.folder, self.project, self.run_id = folder, project, run_id

    @property
    def own(self) -> Path:
        """This run's folder."""
        path = self.folder / self.run_id
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path to write to; it appears under its name when the block ends well, whole or not at all."""
        with replacing(self.own / name) as path:
            yield path

    def put(self, name: str, text: str) -> None:
        """Write a small file whole or not at all."""
        write_text(self.own / name, text)

    def find(self, name: str, asset: str) -> Path:
        """This run's file, else the newest of any run.

        Raises:
            NotReady: naming the asset to materialize first.
        """
        mine = self.folder / self.run_id / name
        if mine.exists():
            return mine
        found = sorted(self.folder.glob(f"*/{name}"), key=lambda path: (path.stat().st_mtime_ns, str(path)))
        if not found:
            raise NotReady(self.project, name, "no run has made it yet", f"materialize {asset} first")
        return found[-1]
