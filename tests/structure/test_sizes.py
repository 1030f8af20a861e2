"""A function fits on a screen, an asset only calls plain code, and the composition root only composes."""

from __future__ import annotations

import ast

from source_code import ROOT, length, modules

ASSET_LINES, FUNCTION_LINES, ROOT_LINES = 15, 60, 50
DECORATORS = {"blueprint.asset", "dg.asset", "dg.asset_check", "dg.multi_asset"}
SHOWS_A_PROJECT = {"mlops_assets.cli.demo", "mlops_assets.spec.reference"}
"""The demo plays one of the shipped projects, and the reference shows it."""
ALL = modules()


def assets() -> list[ast.FunctionDef]:
    found = []
    for module in ALL:
        for function in module.functions():
            calls = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
            if isinstance(function, ast.FunctionDef) and DECORATORS & {ast.unparse(call) for call in calls}:
                found.append(function)
    return found


def test_every_asset_is_thin() -> None:
    found = {function.name: length(function) for function in assets()}
    assert len(found) >= 15, "assets are made in another way now: change this test"
    assert not {name: lines for name, lines in found.items() if lines > ASSET_LINES}


def test_every_function_fits_on_a_screen() -> None:
    found = {f"{module.name}.{f.name}": length(f) for module in ALL for f in module.functions()}
    assert not {name: lines for name, lines in found.items() if lines > FUNCTION_LINES}


def test_composition_root_only_composes() -> None:
    assert len((ROOT / "definitions.py").read_text().splitlines()) <= ROOT_LINES


def test_shipped_projects_are_not_named_in_the_code() -> None:
    projects = {path.parent.name for path in (ROOT / "mlops_assets" / "projects").glob("*/defs.yaml")}
    assert projects
    code = [module for module in ALL if module.name not in SHOWS_A_PROJECT]
    constants = {(m.name, node.value) for m in code for node in ast.walk(m.tree) if isinstance(node, ast.Constant)}
    assert not {(module, value) for module, value in constants if value in projects}
