"""The packages of the wheel: `resources` and `sensors` are folders of this repository and subpackages of the wheel."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["mlops_assets*"]),
        *(f"mlops_assets.{name}" for name in find_packages(include=["resources*", "sensors*"])),
    ]
)
