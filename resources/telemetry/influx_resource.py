"""InfluxDB, as assets get it."""

from __future__ import annotations

import dagster as dg

from mlops_assets.resources.settings import Settings
from mlops_assets.resources.telemetry.forwarding import behind
from mlops_assets.resources.telemetry.influx import InfluxPredictions, server_of
from mlops_assets.resources.telemetry.prediction_log import PredictionLog


class InfluxResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where InfluxDB is.

    Its token is no configuration, which everybody can see in the UI: it is read from the settings when a connection is
    made.
    """

    url: str | None = None
    """None: there is none, and reports read the service's own log."""
    org: str = "mlops"
    bucket: str = "mlops"

    def reader(self, project: str, log: PredictionLog) -> InfluxPredictions | None:
        """A project's telemetry in InfluxDB; None where there is none.

        Args:
            project: whose.
            log: the service's own log; what it holds is waited for.
        """
        if self.url is None:
            return None
        here = {"influx_url": self.url, "influx_org": self.org, "influx_bucket": self.bucket}
        server = server_of(Settings(**here))  # type: ignore[arg-type]
        return None if server is None else InfluxPredictions(server, project, lambda: behind(log))
