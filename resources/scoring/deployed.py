"""Decides which versions a project's scoring service starts with. No other module decides this."""

from __future__ import annotations

import logging

from mlops_assets.errors import RegistryError
from mlops_assets.ledger.store import Ledger
from mlops_assets.resources.scoring.config import ModelRef
from mlops_assets.resources.tracking.versions import Versions
from mlops_assets.spec import ProjectSpec

StartVersions = tuple[ModelRef | None, ModelRef | None]
"""The version that serves and the version that predicts in the shadow; None: no version."""

log = logging.getLogger("mlops_assets.endpoint")


def deployed_versions(spec: ProjectSpec, ledger: Ledger, versions: Versions) -> StartVersions:
    """Return the champion and the shadow that the ledger names, with their local bundles.

    A shadow whose bundle cannot be downloaded is left out: the service must not depend on it.

    Args:
        spec: the project.
        ledger: names the versions.
        versions: local copies of bundles; those that are not there are downloaded and checked.

    Raises:
        LedgerError: the ledger does not answer.
        RegistryError: the champion's bundle is not there and cannot be downloaded.
        ModelError: a bundle is not the one that was trained.
    """
    view = ledger.view(spec.name)
    if view.deployment_period is None:
        return None, None
    champion = view.deployment_period.version
    serve = ModelRef(version=champion, folder=versions.path(champion))
    shadow = view.shadow_for(spec.serving.shadow)
    try:
        return serve, None if shadow is None else ModelRef(version=shadow, folder=versions.path(shadow))
    except RegistryError as error:
        log.warning(f"the service starts without its shadow: {error}", extra={"model_version": shadow})
        return serve, None
