"""`make cluster`: the chart on the cluster that is up, and where a person finds it."""

from __future__ import annotations

import sys

from cluster_client import RELEASE, address
from conftest import TOKEN, come_up

if __name__ == "__main__":
    come_up()
    sys.stdout.write(
        f"Dagster  {address(f'{RELEASE}-webserver')}\nMLflow   {address(f'{RELEASE}-mlflow')}\n"
        f"clients' token of an endpoint: {TOKEN}\n"
        "These addresses are within the cluster's network: tests/cluster/cluster.sh run curl ...,\n"
        "or from this machine: tests/cluster/cluster.sh expose 3000 ADDRESS:PORT\n"
    )
