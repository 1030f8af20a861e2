"""Files that the assets of one training hand on to each other, in one folder per run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_assets.errors import NotReady
from mlops_assets.files import replacing, write_text


class RunArtifacts:
    """The files of one run's training.

    An asset that is materialized alone, in a run of its own, reads the newest file of any run.

    Args:
        folder: the project's folder of trainings, with one folder per run.
        project: name of the project, for errors.
        run_id: id of the run.
    """

    def __init__(self, folder: Path, project: str, run_id: str) -> None:
        self.folder, self.project, self.run_id = folder, project, run_id

    @property
    def own(self) -> Path:
        """The folder of this run; it is created when it does not exist."""
        path = self.folder / self.run_id
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path to write to. The file appears under its name when the block ends without an error."""
        with replacing(self.own / name) as path:
            yield path

    def put(self, name: str, text: str) -> None:
        """Write a small text file atomically."""
        write_text(self.own / name, text)

    def find(self, name: str, asset: str) -> Path:
        """Return the path of this run's file, else of the newest one of any run.

        Args:
            name: name of the file.
            asset: the asset that writes it, for the error.

        Raises:
            NotReady: there is none.
        """
        own = self.folder / self.run_id / name
        if own.exists():
            return own
        found = sorted(self.folder.glob(f"*/{name}"), key=lambda path: (path.stat().st_mtime_ns, str(path)))
        if not found:
            raise NotReady(self.project, name, "no run has written it yet", f"materialize {asset} first")
        return found[-1]
