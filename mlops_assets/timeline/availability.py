"""When values and labels are known, and which past values are known at a due time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from mlops_assets.spec.duration import format_duration
from mlops_assets.timeline.project_time import ProjectTime
from mlops_assets.timeline.times import Times


class Availability(ProjectTime):
    """When each value of a project's series is known.

    A value covers one step of the grid. Its stamp is the start or the end of that step (`data.stamp`). It is known when
    the step has ended and `data.arrival_delay` has passed; a label is known `labels.delay` later.
    """

    def complete_at(self, stamp: datetime) -> datetime:
        """Return the end of the step that the value with a stamp covers."""
        return stamp if self._stamped_at_end else self.grid.end(stamp)

    def known_from(self, stamps: Times, column: str) -> Times:
        """Return when the values of a column with these stamps are known."""
        complete = stamps if self._stamped_at_end else self.grid.ends(stamps)
        return np.asarray(complete + np.timedelta64(self.delay_of(column)))

    def known_before(self, moment: datetime) -> datetime:
        """Return the latest stamp whose value is known by a moment."""
        arrived = moment - self.spec.data.arrival_delay
        return arrived if self._stamped_at_end else self.grid.last_ended(arrived)

    def labelled_before(self, moment: datetime) -> datetime:
        """Return the latest stamp whose label is known by a moment."""
        return self.known_before(moment - self.spec.labels.delay)

    def delay_of(self, column: str) -> timedelta:
        """Return how long after the end of its step a value of a column is known."""
        label_delay = self.spec.labels.delay if column == self.spec.problem.target else timedelta(0)
        return self.spec.data.arrival_delay + label_delay

    def newest_known(self, due: Times, column: str) -> npt.NDArray[np.int64]:
        """Return the grid point of the newest value of a column that is known at each due time."""
        known: Times = due.astype("datetime64[ns]")
        arrived: Times = np.subtract(known, np.timedelta64(self.delay_of(column)), dtype=None)
        return self.grid.steps(arrived) - (not self._stamped_at_end)

    @property
    def feature_window_steps(self) -> int:
        """Length of the feature window in grid steps; 0 when the project uses no past values."""
        past = self.spec.features.history
        return 0 if past is None else int(past.length / self.every)

    @property
    def lags(self) -> dict[str, dict[str, int]]:
        """By column, the position in its feature window of the value of each declared age (`features.history.lags`)."""
        past = self.spec.features.history
        if past is None or not past.lags:
            return {}
        found: dict[str, dict[str, int]] = {}
        for column in past.columns:
            newest = -(-(self.horizon + self.delay_of(column)) // self.every) + (not self._stamped_at_end)
            found[column] = {
                format_duration(age): self.feature_window_steps - 1 - (age // self.every - newest) for age in past.lags
            }
        return found

    def past_values_span(
        self, first_due: datetime, last_due: datetime, columns: Sequence[str], steps: int
    ) -> tuple[datetime, datetime]:
        """Return the stamps [start, end) that feature windows for due times in [first_due, last_due] are cut from.

        Args:
            first_due: the earliest due time.
            last_due: the latest due time.
            columns: the columns of the feature windows.
            steps: length of a feature window, in grid steps.
        """
        slowest = max((self.delay_of(column) for column in columns), default=timedelta(0))
        start = first_due - slowest - (steps + 2) * self.every
        return max(self.start, start), last_due + timedelta(microseconds=1)

    @property
    def _stamped_at_end(self) -> bool:
        return self.spec.data.stamp == "end"
