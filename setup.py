"""Beside pyproject.toml because only here packages can be both found and mapped to folders."""

from setuptools import find_namespace_packages, setup

#: Folders that people edit, and that a wheel carries inside the package.
FOLDERS = ("model_configs", "dataset_configs", "plans", "docs")  # of docs, results.csv

setup(
    packages=[*find_namespace_packages(include=["ear_sat", "ear_sat.*"]), *(f"ear_sat.{folder}" for folder in FOLDERS)],
    package_dir={f"ear_sat.{folder}": folder for folder in FOLDERS},
)
