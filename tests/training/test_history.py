"""The log of a training, and its picture."""

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medseg.errors import OutputError
from medseg.training.history import TrainingLog, draw_curves, read_events


def test_events_come_back_in_their_order(tmp_path):
    log = TrainingLog(tmp_path)
    for step in (10, 20):
        log.add({"step": step, "loss": 1 / step})
    assert read_events(tmp_path / "log.jsonl") == [{"step": 10, "loss": 0.1}, {"step": 20, "loss": 0.05}]


def test_a_missing_log_has_no_events(tmp_path):
    assert read_events(tmp_path / "log.jsonl") == []


def test_a_last_line_that_was_cut_short_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 10, "loss": 0.1}\n{"step": 20, "lo')
    assert read_events(path) == [{"step": 10, "loss": 0.1}]


def test_what_came_after_the_checkpoint_is_forgotten(tmp_path):
    log = TrainingLog(tmp_path)
    log.start()
    for step in (10, 20, 30):
        log.add({"step": step})
    with log.path.open("a") as stream:
        stream.write('{"step": 4')
    log = TrainingLog(tmp_path)
    log.resume(20)
    log.add({"step": 30, "again": True})
    assert read_events(log.path) == [{"step": 10}, {"step": 20}, {"step": 30, "again": True}]


def test_a_new_training_forgets_the_log_of_one_that_left_no_checkpoint(tmp_path):
    log = TrainingLog(tmp_path)
    log.add({"step": 10})
    log.start()
    assert read_events(log.path) == []


def test_tensorboard_shows_each_step_once_after_a_resumption(tmp_path):
    log = TrainingLog(tmp_path, tensorboard=True)
    log.start()
    for step in (10, 20, 30):
        log.add({"step": step, "loss": float(step), "dice": {"a": 0.5, "b": None}, "mean_dice": 0.5})
    log = TrainingLog(tmp_path, tensorboard=True)
    log.resume(20)
    log.add({"step": 30, "loss": 99.0})
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(board.Tags()["scalars"]) == ["dice/a", "loss", "mean_dice"]
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(10, 10.0), (20, 20.0), (30, 99.0)]


def test_curves_are_drawn_from_any_part_of_a_log(tmp_path):
    losses = [{"step": step, "loss": 1 / step} for step in (10, 20)]
    scores = [
        {"step": 10, "dice": {"a": None, "b": 0.1}, "mean_dice": 0.1},
        {"step": 20, "dice": {"a": 0.5, "b": math.pi / 4}, "mean_dice": 0.6},
    ]
    for number, events in enumerate(([], losses, scores, losses + scores)):
        path = tmp_path / f"{number}.png"
        draw_curves(events, path)
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to stand for a full disk")
def test_a_full_disk_is_told_in_one_line(tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    log = TrainingLog(tmp_path)
    with pytest.raises(OutputError, match=r"log\.jsonl cannot be written \(No space left on device\): free space"):
        log.add({"step": 1, "loss": 0.5})
