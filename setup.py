"""For tools that ask for it; everything is in setup.cfg."""

from setuptools import setup

setup()
