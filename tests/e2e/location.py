"""The code location of the end-to-end test: a simulated project with a planted break."""

import dagster as dg
from simulated_projects import at, simulated_project

from mlops_assets.blueprint import Blueprint
from mlops_assets.component import definitions_of
from mlops_assets.resources.platform import Platform
from mlops_assets.resources.settings import Settings
from mlops_assets.sensors.run_status import run_status

SPEC = simulated_project(
    "turning",
    {"break_at": at(1).isoformat()},
    problem={"validation": {"strategy": "last", "holdout": "1d"}},
    data={"training_window": "4d"},
    promotion={"min_rows": 20},
    retraining={"when": {"type": "performance", "ratio": 1.5, "first": 1, "last": 1}, "warm_up": "3d"},
)
WINDOWS = 4
"""The break is in the second window, the warm-up ends with the third, and the new version serves in the fourth."""


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions, as `definitions.py` builds them."""
    return dg.Definitions.merge(
        definitions_of(SPEC),
        dg.Definitions(
            resources={"platform": Platform.configured(Settings())},
            sensors=[run_status([Blueprint(SPEC)], dg.DefaultSensorStatus.RUNNING)],
            executor=dg.in_process_executor,
        ),
    )
