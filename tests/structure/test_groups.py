"""The scheduler keeps tests that share a played world in one process; where it cannot, the world is played twice."""

import pytest


@pytest.mark.xdist_group("grouped")
def test_the_group_of_a_test_reaches_the_scheduler(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        # only `--dist loadgroup`, as `make test` has it, hands groups to a scheduler
        pytest.skip("tests are not distributed by group here")
    assert request.node.nodeid.endswith("@grouped")
