"""The chart, installed once for all tests of the cluster."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_client import NAMESPACE, RELEASE, Dagster, helm, kubectl
from installation import STATE, TOKEN, Installed, install_chart


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stop when the tests do not run within the cluster's network."""
    here = [item for item in items if Path(item.fspath).parent == Path(__file__).parent]
    if here and "KUBECONFIG" not in os.environ:
        pytest.exit("these tests run within the cluster's network: make test-cluster", returncode=2)


MEASURED: dict[str, object] = {}


@pytest.fixture(scope="session")
def measured() -> dict[str, object]:
    """Return the measured durations, which are printed at the end; no test checks them."""
    return MEASURED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measured durations."""
    for name, value in MEASURED.items():
        terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session")
def installed() -> Iterator[Installed]:
    seconds = install_chart()
    MEASURED["helm install until all is ready"] = f"{seconds:.0f} s"
    yield Installed(Dagster(), seconds, TOKEN)
    helm("uninstall", RELEASE, "--wait", check=False)
    kubectl("delete", "namespace", NAMESPACE, check=False)
    kubectl("delete", "pv", f"{NAMESPACE}-state", check=False)
    shutil.rmtree(STATE, ignore_errors=True)
