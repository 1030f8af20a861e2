from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from hourly import MakeSource, Read, hourly, small_spec

from mlops_assets.source.project_source import ProjectSource
from mlops_assets.timeline import Timeline


@pytest.fixture
def make_source(monkeypatch: pytest.MonkeyPatch) -> MakeSource:
    """Return a function that builds a source around a `read` function; keywords change the spec."""

    def make(read: Read = hourly, **parts: Any) -> ProjectSource:
        module = ModuleType("planted_source")
        module.read = read  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "planted_source", module)
        spec = small_spec(**parts)
        return ProjectSource(spec, Timeline(spec))

    return make
