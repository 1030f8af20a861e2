"""A function fits on a screen, an asset is thin, a module has one subject."""

from __future__ import annotations

import ast

from source_code import ROOT, length, modules

ASSET_LINES, FUNCTION_LINES, MODULE_LINES, ROOT_LINES = 15, 60, 400, 50
DECORATORS = {"blueprint.asset", "dg.asset", "dg.asset_check", "dg.multi_asset"}
LONGER: dict[str, tuple[int, str]] = {}
"""Modules that stay whole although they are longer: at most so many lines, and why."""
ALL = modules()


def assets() -> list[tuple[str, ast.FunctionDef]]:
    found = []
    for module in ALL:
        for function in module.functions():
            calls = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
            if isinstance(function, ast.FunctionDef) and DECORATORS & {ast.unparse(call) for call in calls}:
                found.append((module.name, function))
    return found


def test_every_asset_is_thin() -> None:
    found = {function.name: length(function) for _, function in assets()}
    assert len(found) >= 15, "assets are made another way now: mend this test"
    assert not {name: lines for name, lines in found.items() if lines > ASSET_LINES}


def test_every_function_fits_on_a_screen() -> None:
    found = {f"{module.name}.{f.name}": length(f) for module in ALL for f in module.functions()}
    assert not {name: lines for name, lines in found.items() if lines > FUNCTION_LINES}


def test_a_module_is_short_enough_to_be_known_whole() -> None:
    most = {name: lines for name, (lines, _) in LONGER.items()}
    assert not {m.name: m.lines for m in ALL if m.lines > most.get(m.name, MODULE_LINES)}


def test_an_exception_from_the_length_of_modules_is_still_needed() -> None:
    assert not [module.name for module in ALL if module.name in LONGER and module.lines <= MODULE_LINES]


def test_the_composition_root_only_composes() -> None:
    assert len((ROOT / "definitions.py").read_text().splitlines()) <= ROOT_LINES


def test_every_module_says_what_it_is_about() -> None:
    assert not [module.name for module in ALL if not ast.get_docstring(module.tree)]


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    words = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert not [module.name for module in ALL if words & set(module.name.replace("_", ".").split("."))]
