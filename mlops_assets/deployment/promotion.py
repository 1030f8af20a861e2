"""Promotion and rollback: standby, golden rows, ledger, alias, switch, ledger; each step survives a crash after it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from mlops_assets.errors import LedgerError, ModelError, NotReady
from mlops_assets.ledger.facts import Fact, PromotionStep
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.view import LedgerView
from mlops_assets.spec import ProjectSpec

Cause = Literal["bootstrap", "retraining", "rollback", "hand"]
ALIAS = "champion"


class Aliases(Protocol):
    """The registry's aliases."""

    def alias(self, name: str) -> int | None:
        """The version an alias points to."""

    def set_alias(self, name: str, version: int) -> None:
        """Point an alias to a version."""

    def delete_alias(self, name: str) -> None:
        """Take an alias away."""


class Bundles(Protocol):
    """Local copies of versions."""

    def path(self, version: int) -> Path:
        """The bundle of a version."""


class Endpoint(Protocol):
    """The service process, as a promotion sees it."""

    def ensure_running(self) -> None:
        """Start it if it is not there."""

    def load(self, version: int, folder: Path) -> None:
        """Load a standby and check its golden rows; ModelError if it fails."""

    def switch(self, version: int) -> None:
        """Serve the standby; the old model is released when its last request is answered."""

    def unload(self) -> None:
        """Drop a standby."""

    def shadow(self, version: int | None, folder: Path | None) -> None:
        """Let a version predict unseen, or none."""

    def serving(self) -> int | None:
        """The version that serves now."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold while promoting: promotions of a project are serialised over processes."""


@dataclass(frozen=True)
class Promoter:
    """Moves a project's champion.

    Args:
        spec: the project.
        ledger: where each step is written; it, not the alias, says who serves.
        aliases: the registry.
        bundles: local copies of versions.
        endpoint: the service.
    """

    spec: ProjectSpec
    ledger: Ledger
    aliases: Aliases
    bundles: Bundles
    endpoint: Endpoint

    def promote(
        self,
        version: int,
        *,
        promotion: str,
        cause: Cause,
        now: datetime,
        with_facts: list[Fact] | None = None,
        training: str | None = None,
        decision: str | None = None,
        reason: str = "",
    ) -> PromotionStep:
        """Let a version serve.

        Args:
            version: which.
            promotion: id of this promotion; the same id again completes what was begun.
            cause: why.
            now: the project's time.
            with_facts: facts written in the same transaction as PROMOTING (the verdict that asked for it).
            training: the training that made it, if one did.
            decision: the decision that had it trained, if one did.
            reason: a sentence for people.

        Raises:
            ModelError: the version does not load or answers its golden rows wrongly; nothing has changed.
            LedgerError: somebody else moved the alias meanwhile.
        """
        with self.endpoint.exclusive():
            previous = self._ready_to_promote(promotion)
            if (moved := self._moved_by_hand(previous, version)) is not None:
                raise moved
            self.endpoint.ensure_running()
            self.endpoint.load(version, self.bundles.path(version))
            begun = PromotionStep(
                at=now,
                promotion=promotion,
                step="PROMOTING",
                version=version,
                previous=previous,
                cause=cause,
                training=training,
                decision=decision,
                reason=reason,
            )
            self.ledger.append(self.spec.name, *(with_facts or []), begun)
            return self._finish(begun, now)

    def repair(self, now: datetime) -> str | None:
        """Complete what a crash left half-done, or undo it; a sentence that says which, None if nothing was open."""
        with self.endpoint.exclusive():
            step = self._history().open_promotion
            if step is None:
                return None
            if (moved := self._moved_by_hand(step.previous, step.version)) is not None:
                self._undo(step, now, str(moved))
                return f"promotion of version {step.version} undone: {moved}"
            self.endpoint.ensure_running()
            if self.endpoint.serving() != step.version:
                try:
                    self.endpoint.load(step.version, self.bundles.path(step.version))
                except ModelError as error:
                    self._undo(step, now, str(error))
                    return f"promotion of version {step.version} undone: {error}"
            self._finish(step, now)
            return f"promotion of version {step.version} completed"

    def reconcile(self) -> int | None:
        """Bring the service to what the ledger says: version, shadow, no forgotten standby; the version that serves."""
        with self.endpoint.exclusive():
            history = self._history()
            self.endpoint.ensure_running()
            if history.deployment_period is None:
                return None
            version = history.deployment_period.version
            if self.endpoint.serving() != version:
                self.endpoint.load(version, self.bundles.path(version))
                self.endpoint.switch(version)
            if history.open_promotion is None:
                self.endpoint.unload()
            self._set_shadow(history)
            return version

    def _history(self) -> LedgerView:
        return self.ledger.view(self.spec.name)

    def _ready_to_promote(self, promotion: str) -> int | None:
        history = self._history()
        if history.open_promotion is not None and history.open_promotion.promotion != promotion:
            raise LedgerError(
                self.spec.name,
                f"promotion {history.open_promotion.promotion} of version {history.open_promotion.version}",
                "it was begun and is not finished",
                "let endpoint_health finish it (or materialize `endpoint`), then promote again",
            )
        return history.deployment_period.version if history.deployment_period is not None else None

    def _finish(self, step: PromotionStep, now: datetime) -> PromotionStep:
        self._move_alias(step)
        if self.endpoint.serving() != step.version:
            self.endpoint.switch(step.version)
        done = step.model_copy(update={"step": "PROMOTED", "at": now})
        self.ledger.append(self.spec.name, done)
        self._set_shadow(self._history())
        return done

    def _moved_by_hand(self, previous: int | None, version: int) -> LedgerError | None:
        """Whether somebody else has moved the alias; told before anything is changed."""
        found = self.aliases.alias(ALIAS)
        if found in (previous, version):
            return None
        return LedgerError(
            self.spec.name,
            f"alias {ALIAS}",
            f"it points to version {found}, the ledger says {previous} serves: somebody moved it by hand",
            f"point it back to {previous}, then promote again",
        )

    def _move_alias(self, step: PromotionStep) -> None:
        self.aliases.set_alias(ALIAS, step.version)
        after = self.aliases.alias(ALIAS)
        if after != step.version:
            raise LedgerError(
                self.spec.name, f"alias {ALIAS}", f"set to {step.version}, it reads {after}", "look who else moves it"
            )

    def _undo(self, step: PromotionStep, now: datetime, reason: str) -> None:
        if self.aliases.alias(ALIAS) == step.version:
            if step.previous is None:
                self.aliases.delete_alias(ALIAS)
            else:
                self.aliases.set_alias(ALIAS, step.previous)
        undone = step.model_copy(update={"step": "UNDONE", "at": now, "reason": reason})
        self.ledger.append(self.spec.name, undone)

    def _set_shadow(self, view: LedgerView) -> None:
        wanted = view.shadow_for(self.spec.serving.shadow)
        self.endpoint.shadow(wanted, None if wanted is None else self.bundles.path(wanted))


def rollback_target(view: LedgerView, to: int | None) -> int:
    """The version that a rollback lets serve: the one named, else the previous champion.

    Raises:
        NotReady: when there is none, or it never was champion.
    """
    previous = view.previous_version()
    promoted = sorted({deployment_period.version for deployment_period in view.deployment_periods})
    if to is None and previous is not None:
        return previous
    if (
        to is None
        or to not in promoted
        or (view.deployment_period is not None and to == view.deployment_period.version)
    ):
        raise NotReady(
            view.project,
            f"rollback to {to if to is not None else 'the previous champion'}",
            f"former champions are {[v for v in promoted if view.deployment_period is None or v != view.deployment_period.version]}",
            "name one of them with --to",
        )
    return to
