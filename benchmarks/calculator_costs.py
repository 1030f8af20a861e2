"""Measure what tsfresh's calculators cost, and compare with the shipped table that feature selection uses.

    python -m benchmarks.calculator_costs            # prints how the measured costs compare with the shipped ones
    python -m benchmarks.calculator_costs --write    # replaces the shipped table

Replace the table on an idle machine, when tsfresh's version changes, and commit the result. The table is shipped, not
measured at each training, because a selection must be the same each time for the same rows. Mainly the proportions
between the calculators matter, and these vary little between machines.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.modeling.calculator_costs import PATH, CombinerCost, CostTable
from mlops_assets.prediction.features import single_threaded_algebra
from mlops_assets.prediction.tsfresh_import import import_tsfresh

STEPS = [48, 168, 672]
Windows = np.ndarray[Any, np.dtype[np.float64]]
WINDOWS = 5
RUNS = range(3, 30)
PATIENCE = 0.02
"""Seconds after which a window is not measured again."""
DATA = Path(__file__).parent.parent / "mlops_assets" / "projects" / "bike_demand" / "bike_hour.csv.xz"


def microseconds(function: Callable[..., Any], arguments: dict[str, Any], windows: Windows) -> float:
    """Return the processor time of a call: the median over the windows of the fastest of at least three calls."""
    taken = []
    for window in windows:
        runs: list[float] = []
        while len(runs) < RUNS.start or (sum(runs) < PATIENCE and len(runs) < RUNS.stop):
            start = time.thread_time()
            result = function(window, **arguments)
            if not isinstance(result, int | float | np.generic):
                list(result)  # a combiner may compute while it is iterated
            runs.append(time.thread_time() - start)
        taken.append(min(runs))
    return round(float(np.median(taken)) * 1e6, 1)


def combiner_cost(function: Callable[..., Any], parameters: list[Any], cuts: list[Windows]) -> CombinerCost:
    """Return the cost of the first of a combiner's features, and of each further one."""

    def costs(settings: list[Any]) -> list[float]:
        return [microseconds(function, {"param": settings}, windows) for windows in cuts]

    # the larger of the first and the last setting: a call for lag 0 alone computes nothing
    first = [max(pair) for pair in zip(costs(parameters[:1]), costs(parameters[-1:]), strict=True)]
    more = max(1, len(parameters) - 1)
    each = [round(max(0.5, (whole - one) / more), 1) for one, whole in zip(first, costs(parameters), strict=True)]
    return CombinerCost(first=first, each=each)


def main() -> None:
    """Measure all calculators of tsfresh's comprehensive setting at three lengths of the feature window."""
    import_tsfresh()
    from tsfresh.feature_extraction import feature_calculators
    from tsfresh.feature_extraction.settings import ComprehensiveFCParameters
    from tsfresh.utilities.string_manipulation import convert_to_output_format

    single_threaded_algebra()
    warnings.simplefilter("ignore")
    series = pd.read_csv(DATA)["cnt"].to_numpy(dtype=np.float64)
    starts = range(100, 12000, 12000 // WINDOWS)
    cuts = [np.array([series[start : start + steps] for start in starts]) for steps in STEPS]
    simple: dict[str, list[float]] = {}
    combiners: dict[str, CombinerCost] = {}
    for name, parameters in ComprehensiveFCParameters().items():
        function = getattr(feature_calculators, name)
        if hasattr(function, "index_type"):
            continue
        if function.fctype == "combiner":
            combiners[name] = combiner_cost(function, parameters, cuts)
            continue
        for setting in parameters or [{}]:
            suffix = f"{name}__{convert_to_output_format(setting)}" if setting else name
            simple[suffix] = [microseconds(function, setting, windows) for windows in cuts]
    table = CostTable(steps=STEPS, simple=simple, combiners=combiners)
    if "--write" in sys.argv[1:]:
        PATH.write_text(table.model_dump_json(indent=1) + "\n")
        print(f"wrote {PATH}")
    else:
        compare(table)


def compare(measured: CostTable) -> None:
    """Print the ratio of the measured costs to the shipped ones, over the calculators with one setting."""
    shipped = CostTable.model_validate_json(PATH.read_text())
    both = [name for name in measured.simple if name in shipped.simple]
    ratios = [np.mean(measured.simple[name]) / np.mean(shipped.simple[name]) for name in both]
    low, middle, high = np.percentile(ratios, [5, 50, 95])
    print(f"calculator costs: measured / shipped {middle:.2f} (5 to 95 % of {len(both)}: {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
