import threading

import pytest

from medseg.errors import ReviewError
from medseg.review.background import Background, StoppedError

LONG_S = 20.0


def test_work_is_done_beside_and_tells_how_far_it_is():
    told, go_on = threading.Event(), threading.Event()

    def work(report):
        report(3, 10)
        told.set()
        go_on.wait(LONG_S)
        return threading.current_thread()

    task = Background(work)
    assert told.wait(LONG_S)
    assert (task.is_over, task.progress) == (False, (3, 10))
    with pytest.raises(StoppedError, match="not over"):
        task.result()
    go_on.set()
    assert task.wait(LONG_S)
    assert task.result() is not threading.current_thread()


def test_an_error_of_the_work_is_raised_where_the_result_is_asked_for():
    def work(_report):
        raise ReviewError("nothing there")

    task = Background(work)
    task.wait(LONG_S)
    with pytest.raises(ReviewError, match="nothing there"):
        task.result()


def test_work_that_was_stopped_ends_at_its_next_report_and_has_no_result():
    begun, go_on, steps = threading.Event(), threading.Event(), []

    def work(report):
        begun.set()
        go_on.wait(LONG_S)
        for step in range(5):
            report(step, 5)
            steps.append(step)

    task = Background(work)
    assert begun.wait(LONG_S)
    task.stop()
    go_on.set()
    assert task.wait(LONG_S)
    assert steps == []
    with pytest.raises(StoppedError):
        task.result()
