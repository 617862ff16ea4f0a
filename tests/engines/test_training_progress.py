"""What a person sees of a training that writes into a file."""

from engines.schedule import Course, Schedule
from engines.training_progress import shown


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def lines_of(capsys, *, steps, minutes=None, done=0):
    clock = Clock()
    course = Course(Schedule(steps=steps, minutes=minutes, batch=1, seed=0, width=16), clock=clock)
    if done:
        course.resume(steps=steps, losses=[1.0] * done, seconds=500.0)
    with shown(course) as show:
        for _ in range(7):
            clock.now_s += 10
            course.add(0.25)
            show()
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("training:")]


def test_a_file_gets_loss_rate_and_time_left_every_half_minute(capsys):
    assert lines_of(capsys, steps=1_806) == [
        "training: 3 steps of 1,806, loss 0.2500, 0.1 steps/s, 5:00:30 left",
        "training: 6 steps of 1,806, loss 0.2500, 0.1 steps/s, 5:00:00 left",
    ]


def test_a_continued_training_counts_on(capsys):
    (line, _) = lines_of(capsys, steps=120, done=100)
    assert line == "training: 103 steps of 120, loss 0.8875, 0.1 steps/s, 0:02:50 left"


def test_before_the_number_of_steps_is_fixed_no_time_is_promised(capsys):
    (line, _) = lines_of(capsys, steps=None, minutes=60)
    assert line == "training: 3 steps, loss 0.2500, 0.1 steps/s"
