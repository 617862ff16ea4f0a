"""What the tests of the outbox do with it, at a time that they set."""

from dataclasses import dataclass, field

from edge_agent.inspection import Trigger
from edge_agent.outbox_records import Clock

WINDOW_S = 30.0


@dataclass
class FakeTime:
    wall_ns: int = 1_700_000_000_000_000_000
    monotonic_ns: int = 5_000_000_000
    boot: str = "kernel-1"
    is_set: bool = True
    clock: Clock = field(init=False)

    def __post_init__(self):
        self.reboot(self.boot, self.monotonic_ns)

    def reboot(self, boot, monotonic_ns=1_000_000_000):
        self.monotonic_ns = monotonic_ns
        self.clock = Clock(lambda: self.wall_ns, lambda: self.monotonic_ns, boot, lambda: self.is_set)

    def pass_s(self, seconds):
        self.wall_ns += round(seconds * 1e9)
        self.monotonic_ns += round(seconds * 1e9)


def trigger(meas_id="1", part_id="p1", job_id="j", at_ns=5_000_000_000):
    return Trigger(meas_id, part_id, job_id, "bottle", 500, at_ns)


def store(outbox, result_id, trigger_id=None, mask_png=None):
    seq = outbox.next_seq()
    stored = outbox.store(
        seq=seq, result_id=result_id, boot_id="b", payload=result_id.encode(), mask_png=mask_png, trigger_id=trigger_id
    )
    return seq, stored


def send(outbox, result_id, trigger_id=None):
    seq, stored = store(outbox, result_id, trigger_id)
    outbox.mark_sent([seq], ack_timeout_s=2)
    return seq, stored
