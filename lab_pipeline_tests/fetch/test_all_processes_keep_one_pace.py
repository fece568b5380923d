from lab_pipeline.fetch.pace import Pace


class Clock:
    def __init__(self):
        self.now, self.slept = 1_000.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(round(seconds, 3))


def paces(tmp_path, clock):
    return [Pace(tmp_path / "source.pace", 60, clock, clock.sleep) for _ in range(2)]


def test_turns_are_given_out_across_processes(tmp_path):
    clock = Clock()
    one, other = paces(tmp_path, clock)
    for pace in (one, other, one, other):
        pace.wait()
    assert clock.slept == [1.0, 2.0, 3.0]


def test_a_source_that_asks_to_wait_holds_everybody(tmp_path):
    clock = Clock()
    one, other = paces(tmp_path, clock)
    one.hold(30)
    other.wait()
    assert clock.slept == [30.0]


def test_a_turn_from_a_wrong_clock_is_not_waited_for(tmp_path):
    clock = Clock()
    one, _ = paces(tmp_path, clock)
    (tmp_path / "source.pace").write_text("99999999999.0")
    one.wait()
    assert clock.slept == [600.0]


def test_a_damaged_file_is_no_obstacle(tmp_path):
    clock = Clock()
    one, _ = paces(tmp_path, clock)
    (tmp_path / "source.pace").write_bytes(b"\0" * 32)
    one.wait()
    assert clock.slept == []
