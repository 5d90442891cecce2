"""Random sequences of calls, crashes and readers against a dict of documents and a brute-force MaxSim."""

from tests.torture.random_calls import run


def test_random_calls_crashes_and_readers_agree_with_a_dict():
    run(100, 20)
