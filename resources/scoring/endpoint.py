"""A project's endpoint: the service process, started with what the ledger says it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from mlops_assets.ledger.store import Ledger
from mlops_assets.resources.scoring.config import ModelRef
from mlops_assets.resources.scoring.service import ScoringService
from mlops_assets.resources.tracking.versions import Versions


class Endpoint:
    """What promotions, the scorer and reports ask of the running service.

    Args:
        service: the scoring service of the project.
        ledger: says which version serves.
        versions: where its bundle lies.
    """

    def __init__(self, service: ScoringService, ledger: Ledger, versions: Versions) -> None:
        self.service, self.ledger, self.versions = service, ledger, versions

    def ensure_running(self) -> None:
        """Start the service if it is not there: with the version that deployment periods, and its shadow."""
        view = self.ledger.view(self.service.project)
        deployed_version = None if view.deployment_period is None else view.deployment_period.version
        self.service.ensure_running(
            serve=self._ref(deployed_version), shadow=self._ref(view.shadow_for(self.service.spec.serving.shadow))
        )

    def _ref(self, version: int | None) -> ModelRef | None:
        return None if version is None else ModelRef(version=version, folder=self.versions.path(version))

    @property
    def url(self) -> str | None:
        """Where it listens; None while it does not run."""
        return self.service.url

    def serving(self) -> int | None:
        """The version that serves; None when none does, or it does not run."""
        return self.service.serving()

    def shadowing(self) -> int | None:
        """The version that predicts unseen."""
        status = self.service.status()
        return None if status is None or status["shadow"] is None else int(status["shadow"]["version"])

    def load(self, version: int, folder: Path) -> None:
        """Load a standby; it has answered its golden rows when this returns."""
        self.service.load(version, folder)

    def switch(self, version: int) -> None:
        """Serve the standby, without failing a request."""
        self.service.switch(version)

    def unload(self) -> None:
        """Drop a standby."""
        self.service.unload()

    def shadow(self, version: int | None, folder: Path | None) -> None:
        """Let a version predict unseen, or none."""
        self.service.shadow(version, folder)

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold while promoting."""
        return self.service.exclusive()

    def drain(self) -> int:
        """Wait until the shadow has predicted for all answers; how many are left."""
        return self.service.drain()

    def invoke(
        self, records: Sequence[Mapping[str, Any]], due: Sequence[datetime], now: datetime
    ) -> list[dict[str, Any]]:
        """Ask for the answers to events, as the scorer, at one moment of the project's time."""
        return self.service.invoke(records, due, [now] * len(records))

    def ask(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Ask as any client would: answered and recorded as `ad_hoc`."""
        return self.service.ask(records)

    def status(self) -> dict[str, Any] | None:
        """Return what the service says about itself; None while it does not run."""
        return self.service.status()

    def stop(self) -> bool:
        """End the service; whether there was one."""
        return self.service.stop()
