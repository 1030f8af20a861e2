"""Checks that a wheel installs one package, `mlops_assets`, with the files that it needs at run time.

python .ci/wheel_contents.py dist/mlops_assets-*.whl
"""

import sys
from zipfile import ZipFile

NEEDED = {
    "mlops_assets/py.typed",
    "mlops_assets/resources/settings.py",
    "mlops_assets/sensors/run_status.py",
    "mlops_assets/dagster_config/embedded.yaml",
    "mlops_assets/dagster_config/postgresql.yaml",
    "mlops_assets/ledger/migrations/versions/v0001_facts.py",
    "mlops_assets/modeling/calculator_costs.json",
    "mlops_assets/projects/bike_demand/defs.yaml",
    "mlops_assets/projects/bike_demand/bike_hour.csv.xz",
    "mlops_assets/projects/bike_demand/SOURCES.md",
    "mlops_assets/templates/repository/pyproject.toml.tmpl",
}


def main(wheel: str) -> None:
    """Exit with a message when something is missing, or something else is installed."""
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if top != {"mlops_assets"}:
        sys.exit(f"{wheel} installs {sorted(top)}: only mlops_assets was expected")
    if missing := NEEDED - names:
        sys.exit(f"{wheel} lacks {sorted(missing)}")


if __name__ == "__main__":
    main(sys.argv[1])
