"""`make cluster`: installs the chart on the running cluster, and prints the addresses."""

from __future__ import annotations

import sys

from cluster_client import RELEASE, address
from installation import TOKEN, install_chart

if __name__ == "__main__":
    install_chart()
    sys.stdout.write(
        f"Dagster  {address(f'{RELEASE}-webserver')}\nMLflow   {address(f'{RELEASE}-mlflow')}\n"
        f"clients' token of an endpoint: {TOKEN}\n"
        "These addresses are within the cluster's network: tests/cluster/cluster.sh run curl ...,\n"
        "or from this machine: tests/cluster/cluster.sh expose 3000 ADDRESS:PORT\n"
    )
