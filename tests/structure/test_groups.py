"""pytest-xdist keeps tests of one group in one process; else the state that they share would be made several times."""

import pytest


@pytest.mark.xdist_group("grouped")
def test_group_of_a_test_reaches_the_scheduler(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        # groups reach a scheduler with `--dist loadgroup` only, as in `make test`
        pytest.skip("tests are not distributed by group here")
    assert request.node.nodeid.endswith("@grouped")
