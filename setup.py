"""Builds and installs the package; its metadata is in pyproject.toml."""

from setuptools import setup

setup()
