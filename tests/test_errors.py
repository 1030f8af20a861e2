"""The fields of errors: their text, and that they survive pickling between processes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from mlops_assets.errors import InputError, LedgerUnreachable, PlatformError, Unreachable, names_project


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LedgerUnreachable("small", "ledger", "it does not answer", "start it"), "[small] ledger: it does not"),
        (
            InputError("small", "wind", "'x' is no number", "send a number", row=3),
            "[small] row 3, wind: 'x' is no number",
        ),
        (InputError("small", "body", "no JSON", "send JSON"), "[small] body: no JSON -> send JSON"),
    ],
)
def test_error_names_its_place_and_survives_pickling(error: PlatformError, text: str) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
    assert str(error).startswith(text)


def test_pure_function_and_generator_get_the_projects_name_into_their_errors() -> None:
    @names_project("small")
    def function() -> None:
        raise Unreachable("-", "server", "it does not answer", "start it")

    @names_project("small")
    def generator() -> Iterator[int]:
        yield 1
        raise Unreachable("other", "server", "it does not answer", "start it")

    with pytest.raises(Unreachable) as caught:
        function()
    assert caught.value.project == "small"
    with pytest.raises(Unreachable) as caught:
        list(generator())
    assert caught.value.project == "other"
