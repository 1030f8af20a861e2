"""Promotion, rollback and repair: the steps by which a version becomes champion.

A promotion loads the version as standby, records PROMOTING, moves the alias in the registry, switches the service and
records PROMOTED. After a crash between these steps, `Promoter.repair` completes the promotion or undoes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mlops_assets.context import CHAMPION, ProjectContext
from mlops_assets.errors import LedgerError, ModelError, NotReady
from mlops_assets.ledger.facts import Fact, PromotionStep
from mlops_assets.ledger.facts.promotions import PromotionCause
from mlops_assets.ledger.view import LedgerView


@dataclass(frozen=True)
class Promoter:
    """Changes which version of a project is champion.

    The ledger, not the registry's alias, says which version serves.

    Args:
        context: the project. Its ledger, registry, versions and endpoint are used.
    """

    context: ProjectContext

    def promote(
        self,
        version: int,
        *,
        promotion: str,
        cause: PromotionCause,
        now: datetime,
        with_facts: Sequence[Fact] = (),
        training: str | None = None,
        decision: str | None = None,
        reason: str = "",
    ) -> PromotionStep:
        """Make a version the champion.

        Args:
            version: the version.
            promotion: id of the promotion (`promotion_id`); the same id again completes a promotion that was begun.
            cause: why it is promoted.
            now: the project's time.
            with_facts: facts that are recorded in the same transaction as PROMOTING, such as the verdict.
            training: the training that produced the version, if there was one.
            decision: the decision that started that training, if there was one.
            reason: a sentence for people.

        Returns:
            The recorded fact PROMOTED.

        Raises:
            ModelError: the version does not load, or does not reproduce its reference predictions; nothing was changed.
            LedgerError: the alias was moved by someone else, or another promotion is open.
        """
        endpoint = self.context.endpoint
        with endpoint.exclusive():
            previous = self._champion_before(promotion)
            if (moved := self._alias_moved_by_hand(previous, version)) is not None:
                raise moved
            endpoint.ensure_running()
            endpoint.load(version, self.context.versions.path(version))
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
            self._record(*with_facts, begun)
            return self._finish(begun, now)

    def repair(self, now: datetime) -> str | None:
        """Complete or undo a promotion that a crash interrupted.

        Args:
            now: the project's time.

        Returns:
            A sentence that says which of the two was done; None when no promotion was open.
        """
        endpoint = self.context.endpoint
        with endpoint.exclusive():
            step = self.context.ledger_view().open_promotion
            if step is None:
                return None
            if (moved := self._alias_moved_by_hand(step.previous, step.version)) is not None:
                self._undo(step, now, str(moved))
                return f"promotion of version {step.version} undone: {moved}"
            endpoint.ensure_running()
            if endpoint.serving() != step.version:
                try:
                    endpoint.load(step.version, self.context.versions.path(step.version))
                except ModelError as error:
                    self._undo(step, now, str(error))
                    return f"promotion of version {step.version} undone: {error}"
            self._finish(step, now)
            return f"promotion of version {step.version} completed"

    def reconcile(self) -> int | None:
        """Load the champion and the shadow that the ledger names, and unload a standby that no promotion needs.

        Returns:
            The version that serves; None when no version was ever promoted.
        """
        endpoint = self.context.endpoint
        with endpoint.exclusive():
            view = self.context.ledger_view()
            endpoint.ensure_running()
            if view.deployment_period is None:
                return None
            version = view.deployment_period.version
            if endpoint.serving() != version:
                endpoint.load(version, self.context.versions.path(version))
                endpoint.switch(version)
            if view.open_promotion is None:
                endpoint.unload()
            self._set_shadow(view)
            return version

    def _record(self, *facts: Fact) -> None:
        self.context.ledger.append(self.context.spec.name, *facts)

    def _champion_before(self, promotion: str) -> int | None:
        view = self.context.ledger_view()
        if view.open_promotion is not None and view.open_promotion.promotion != promotion:
            raise LedgerError(
                self.context.spec.name,
                f"promotion {view.open_promotion.promotion} of version {view.open_promotion.version}",
                "it was begun and is not complete",
                "wait for the sensor endpoint_health to complete it (or materialize `endpoint`), then promote again",
            )
        return view.deployment_period.version if view.deployment_period is not None else None

    def _finish(self, step: PromotionStep, now: datetime) -> PromotionStep:
        self._move_alias(step)
        if self.context.endpoint.serving() != step.version:
            self.context.endpoint.switch(step.version)
        done = step.model_copy(update={"step": "PROMOTED", "at": now})
        self._record(done)
        self._set_shadow(self.context.ledger_view())
        return done

    def _alias_moved_by_hand(self, previous: int | None, version: int) -> LedgerError | None:
        """Return an error when the alias points to neither the previous champion nor the new one.

        This is checked before anything is changed.
        """
        found = self.context.registry.alias(CHAMPION)
        if found in (previous, version):
            return None
        return LedgerError(
            self.context.spec.name,
            f"alias {CHAMPION}",
            f"it points to version {found}, but the champion in the ledger is version {previous}: the alias was moved "
            "by hand",
            f"point it to version {previous} again, then promote again",
        )

    def _move_alias(self, step: PromotionStep) -> None:
        registry = self.context.registry
        registry.set_alias(CHAMPION, step.version)
        after = registry.alias(CHAMPION)
        if after != step.version:
            raise LedgerError(
                self.context.spec.name,
                f"alias {CHAMPION}",
                f"it was set to version {step.version} and points to {after}",
                "find out who else moves it, then promote again",
            )

    def _undo(self, step: PromotionStep, now: datetime, reason: str) -> None:
        registry = self.context.registry
        if registry.alias(CHAMPION) == step.version:
            if step.previous is None:
                registry.delete_alias(CHAMPION)
            else:
                registry.set_alias(CHAMPION, step.previous)
        self._record(step.model_copy(update={"step": "UNDONE", "at": now, "reason": reason}))

    def _set_shadow(self, view: LedgerView) -> None:
        wanted = view.shadow_for(self.context.spec.serving.shadow)
        self.context.endpoint.shadow(wanted, None if wanted is None else self.context.versions.path(wanted))


def promotion_id(project: str, cause: str, version: int) -> str:
    """Return the id of a promotion; the same cause and version give the same id.

    Args:
        project: name of the project.
        cause: id of the training, or of the rollback.
        version: the version that becomes champion.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256(f"{project}\x1f{cause}\x1f{version}".encode()).hexdigest()[:16]


def roll_back(context: ProjectContext, to: int | None, request: str) -> PromotionStep:
    """Make a former champion the champion again; this begins a new deployment period.

    Args:
        context: the project.
        to: the version; None: the previous champion.
        request: id of the request; the same request again completes a rollback that was begun.

    Raises:
        NotReady: there is no such former champion.
    """
    version = rollback_target(context.ledger_view(), to)
    return Promoter(context).promote(
        version,
        promotion=promotion_id(context.spec.name, f"rollback:{request}", version),
        cause="rollback",
        now=context.now(),
        reason=f"a person rolled back to version {version}",
    )


def rollback_target(view: LedgerView, to: int | None) -> int:
    """Return the version that a rollback makes champion: the one that is named, else the previous champion.

    Raises:
        NotReady: there is no previous champion, or the named version is no former champion.
    """
    champion = None if view.deployment_period is None else view.deployment_period.version
    target = view.previous_version() if to is None else to
    former = sorted({period.version for period in view.deployment_periods} - {champion})
    if target is None or (to is not None and to not in former):
        raise NotReady(
            view.project,
            f"rollback to {'the previous champion' if to is None else to}",
            f"former champions are {former}",
            "name one of them with --to",
        )
    return target
