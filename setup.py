"""Builds and installs the package; its metadata is in pyproject.toml.

The weights lie at the project's top, beside the code, and are installed within the package.
"""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["nerveceg_tf*"]), "nerveceg_tf.weights"],
    package_dir={"nerveceg_tf.weights": "weights"},
)
