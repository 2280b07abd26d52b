"""Fixtures of the fault tests."""

import time

import pytest

from tests.faults.campaign import Forks, code_of_run, result_of


@pytest.fixture(scope="session")
def forks():
    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="session")
def unbroken(forks, tmp_path_factory):
    """(folder of a run that nothing happened to, its result, its seconds)."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    forks.run(code_of_run(folder.with_name("warm-up")))
    began = time.monotonic()
    assert forks.run(code_of_run(folder)) == 0, forks.said
    return folder, result_of(folder), time.monotonic() - began
