from worker.launcher import environment


def test_threads_wait_a_moment_and_then_sleep() -> None:
    found = environment({})
    assert (found["OMP_WAIT_POLICY"], found["GOMP_SPINCOUNT"]) == ("PASSIVE", "1000")


def test_an_operators_choice_of_waiting_stays() -> None:
    found = environment({"OMP_WAIT_POLICY": "ACTIVE"})
    assert found["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in found
