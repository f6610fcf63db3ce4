"""When a run saves within an epoch, by a clock of the test's own."""

from unet_train.training import save_timer
from unet_train.training.save_timer import SaveTimer


def test_it_is_due_so_many_minutes_after_the_latest_save(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(save_timer.time, "monotonic", lambda: now)
    timer = SaveTimer(minutes=2)
    now += 120
    assert not timer.due()
    now += 1
    assert timer.due()
    assert timer.due(), "asking saves nothing"
    timer.restart()
    assert not timer.due()
    now += 121
    assert timer.due()
