"""READ FIRST. The agent from start to end: one inspection thread (this one), fed by the camera process and by MQTT.

    trigger -> journal -> capture into the ring -> engine reads the slot -> decision -> outbox -> MQTT -> PLC

Whatever is uncertain on this way ends as INVALID; nothing on it ends as PASS but a decision on a fresh, whole frame.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import time
from contextlib import ExitStack, suppress

from edge_agent.answers import Answers
from edge_agent.broker import EmbeddedBroker
from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import BadFrame, CameraEvent, CameraLost, CameraOpened, FrameCaptured, FramesEnded
from edge_agent.command_handler import CommandHandler
from edge_agent.command_intake import CommandIntake
from edge_agent.freshness import capture_until_ns, unfit_time
from edge_agent.health import StationHealth
from edge_agent.heartbeat import Heartbeat
from edge_agent.link import MqttLink
from edge_agent.live_recipe import open_live_recipe
from edge_agent.messages import State, encode_health, encode_state
from edge_agent.metrics import Vitals
from edge_agent.mqtt import BrokerAddress
from edge_agent.outbox import OpenTrigger, Outbox
from edge_agent.part_intake import PartIntake
from edge_agent.pipeline import Judgement, Pipeline
from edge_agent.publisher import OutboxPublisher
from edge_agent.ring import FrameRing
from edge_agent.station import Station, resolve_references, resolve_secret
from edge_agent.station_state import StationState
from edge_agent.station_watch import StationWatch
from edge_agent.verdict_writer import VerdictWriter
from engines.errors import ConfigError, EngineError, PublishError
from engines.images import Frame

log = logging.getLogger(__name__)

SLOTS = 4
TEST_PIECE_EVERY_S = 600.0
# Answers to a trigger that should not have come; all other INVALID parts go into the reject bin for the station's sake.
_NOT_A_REJECT = {"not_ready", "wrong_recipe", "id_conflict", "bad_trigger"}
_WAIT_S = 0.25
_FLUSH_S = 1.0


class Agent:
    """One station. Everything is made in `__init__`, in the order in which the parts depend on each other."""

    def __init__(self, station: Station, resources: ExitStack) -> None:
        """Open everything that can be opened without waiting for the camera or the broker.

        Args:
            station: The station file.
            resources: Closes what was opened, in reverse order.

        Raises:
            ConfigError: Station file, recipe or thresholds cannot be used.
            DeviceError: The engine cannot be loaded, or the outbox cannot be opened.
        """
        self.station = station
        _lock_state_dir(station, resources)
        self._outbox = Outbox(station.state_dir / "outbox.db", dedupe_window_s=station.trigger.dedupe_window_s)
        resources.callback(self._outbox.close)
        self._live = open_live_recipe(station.recipe, station.engine)
        resources.callback(self._live.close)
        self._ring = FrameRing.create(self._live.recipe.frame_shape, SLOTS)
        resources.callback(self._ring.close)
        self._pipeline = Pipeline(self._live, self._ring)
        self._camera = CameraProcess(resolve_references(station.camera.uri), self._ring)
        resources.callback(self._camera.close)
        self._writer = VerdictWriter(self._outbox, self._live, station, is_simulated=True)
        self._state = StationState(station, self._live, self._writer.boot_id)
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        resources.callback(os.close, self._wake_reader)
        resources.callback(os.close, self._wake_writer)
        self._answers = Answers(
            self._outbox,
            self._writer,
            self._state,
            wake_publisher=self._wake_publisher,
            publish_unstored=self._publish_unstored,
        )
        self._intake = PartIntake(
            self._outbox, begun=self._part_begun, resend=self._wake_publisher, refuse=self._answers.outbox_failed
        )
        self._commands = CommandIntake(self._wake, lambda command: self._handler.refuse(command))  # noqa: PLW0108 - made later
        self._link, self._publisher = self._connect(resources)

        self._watch = StationWatch(self._state, self._live, station.alarms)
        self._handler = CommandHandler(self._live, self._state, self._watch, self._publish_reply)
        self._turns = 0
        self._heartbeat = Heartbeat(
            {
                "inspection": lambda: self._turns,
                "publisher": lambda: self._publisher.beats,
                "deadline": lambda: self._answers.timer.turns,
            },
            self._say_alive,
        )
        parts = (self._state, self._answers.tally, self._watch, self._live, self._outbox, self._camera, self._link)
        self._health = StationHealth(station, Vitals(*parts, self._heartbeat))
        self._stopping = False
        self._busy_slots: dict[int, int] = {}
        self._said_state = b""
        self._next_test_piece_s = 0.0

    def run(self) -> None:
        """Inspect until `stop`.

        Raises:
            ConfigError: The camera says that it never can work this way.
        """
        log.info("starting station=%s recipe=%s", self.station.station, self._live.recipe.name)
        self._answers.refuse_open_parts("restart")
        self._camera.start()
        self._link.start()
        self._publisher.start()
        self._answers.timer.start()
        self._heartbeat.start()
        self._health.start()
        farewell: tuple[State, tuple[str, ...]] = ("error", ("crashed",))
        try:
            while not self._stopping:
                self._wait()
                if waiting := self._intake.next_part():
                    self._inspect(*waiting)
                self._take_camera_events()
                if not self._intake.has_parts:
                    self._handler.obey(self._commands.next_commands())
                self._keep_ready()
                if self.station.camera.mode == "free_run":
                    self._request_ahead()
            farewell = "stopped", ()
        finally:
            self._shut_down(*farewell)

    def stop(self) -> None:
        """End after the part in hand; safe in a signal handler and from any thread."""
        self._stopping = True
        self._wake()

    def reload(self) -> None:
        """Take the thresholds in force after the part in hand; safe in a signal handler and from any thread."""
        self._commands.hang_up()

    def _connect(self, resources: ExitStack) -> tuple[MqttLink, OutboxPublisher]:
        mqtt = self.station.mqtt
        host, port = mqtt.address
        if mqtt.embedded:
            resources.enter_context(EmbeddedBroker(port))
        broker = BrokerAddress(host, port, mqtt.username, resolve_secret(mqtt.password), keepalive_s=mqtt.keepalive_s)
        link = MqttLink(
            broker,
            self._writer.topics,
            self._writer.boot_id,
            state=encode_state("preoperational", self._writer.boot_id),
            on_trigger=self._intake.take,
            on_ack=lambda payload: self._publisher.on_ack(payload),  # noqa: PLW0108 - made after the link
            on_command=self._commands.take,
            on_live=lambda: self._publisher.on_live(),  # noqa: PLW0108 - likewise
            on_published=lambda *receipt: self._publisher.on_published(*receipt),  # noqa: PLW0108 - likewise
        )
        publisher = OutboxPublisher(
            self._outbox,
            link,
            self._writer.topics,
            ack=mqtt.ack,
            consumer=mqtt.consumer,
            ack_timeout_s=mqtt.ack_timeout_s,
        )
        return link, publisher

    # --- one part -----------------------------------------------------------------------------------------------

    def _part_begun(self, part: OpenTrigger) -> None:
        """Start the part's clock, in MQTT's thread, whatever the inspection is doing."""
        self._answers.timer.watch(part, self._deadline_ns(part))
        self._wake()

    def _inspect(self, part: OpenTrigger, refused: str | None) -> None:
        """Give a part its one verdict."""
        reason = refused or self._reason_to_refuse(part)
        event = None if reason else self._capture(part)
        judgement = self._pipeline.judge(event) if event else Judgement(reason=reason or "no_frame")
        within_ms = self.station.trigger.capture_within_ms
        if isinstance(event, FrameCaptured) and (unfit := unfit_time(event, part.trigger, within_ms)):
            judgement = Judgement(reason=unfit, stage_ns=judgement.stage_ns)
        elif time.monotonic_ns() > self._deadline_ns(part) and reason is None:
            judgement = Judgement(reason="deadline", stage_ns=judgement.stage_ns)
        self._answers.finish(judgement, event, part)
        if reason not in _NOT_A_REJECT:
            self._watch.add(judgement, self._frame_of(event))

    def _frame_of(self, event: FrameCaptured | BadFrame | None) -> Frame | None:
        return self._ring.slot(event.slot) if isinstance(event, FrameCaptured) else None

    def _deadline_ns(self, part: OpenTrigger) -> int:
        limits = (self.station.trigger.deadline_ms, part.trigger.expires_ms)
        return part.trigger.received_ns + min(limit for limit in limits if limit is not None) * 1_000_000

    def _reason_to_refuse(self, part: OpenTrigger) -> str | None:
        trigger, now_ns = part.trigger, time.monotonic_ns()
        if trigger.recipe is not None and trigger.recipe != self._live.recipe.name:
            return "wrong_recipe"
        if trigger.expires_ms is not None and now_ns >= trigger.received_ns + trigger.expires_ms * 1_000_000:
            return "expired"
        if now_ns >= self._deadline_ns(part):
            return "deadline"
        if now_ns >= capture_until_ns(trigger, self.station.trigger.capture_within_ms):
            return "late_frame"
        return None if self._state.name == "ready" else "not_ready"

    def _capture(self, part: OpenTrigger) -> FrameCaptured | BadFrame | None:
        """Return the first frame that is newer than the trigger, None if the camera has none in time."""
        newer_than_ns, until_ns = part.trigger.received_ns, self._deadline_ns(part)
        free = next((slot for slot in range(SLOTS) if slot not in self._busy_slots.values()), None)
        if free is None:
            return None
        request = self._camera.request(free, newer_than_ns)
        self._busy_slots[request] = free
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            self._turns += 1
            event = self._camera.next_event(min(left_ns / 1e9, _WAIT_S))
            self._note(event)
            match event:
                case FrameCaptured() | BadFrame() if event.request == request:
                    return event
                case FramesEnded() if event.request == request:
                    return None
                case CameraLost() if request in event.requests:
                    return None
                case _:
                    pass
        return None

    # --- free run -----------------------------------------------------------------------------------------------

    def _request_ahead(self) -> None:
        """Keep every free slot asked for, so that capture and inspection overlap."""
        if not self._state.is_inspecting:
            return
        for slot in set(range(SLOTS)) - set(self._busy_slots.values()):
            self._busy_slots[self._camera.request(slot)] = slot

    # --- camera, state and time ---------------------------------------------------------------------------------

    def _wait(self) -> None:
        self._turns += 1
        timeout_s = 0 if self._intake.has_parts else _WAIT_S
        select.select([self._camera.fileno(), self._wake_reader], [], [], timeout_s)
        with suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)

    def _take_camera_events(self) -> None:
        while (event := self._camera.next_event(0)) is not None:
            self._note(event)
            if self.station.camera.mode == "free_run" and isinstance(event, FrameCaptured | BadFrame):
                judgement = self._pipeline.judge(event)
                self._answers.finish(judgement, event, None)
                self._watch.add(judgement, self._frame_of(event))
                return

    def _note(self, event: CameraEvent | None) -> None:
        match event:
            case CameraOpened():
                self._state.clear_fault("camera_lost")
                self._state.waiting_for = None
                self._pipeline.refuses_repeats = event.is_live
                self._writer.is_simulated = event.is_simulated
            case CameraLost():
                if event.is_final:
                    raise event.error
                for request in event.requests:
                    self._busy_slots.pop(request, None)
                self._state.set_fault("camera_lost", event.error)
            case FramesEnded():
                self._busy_slots.pop(event.request, None)
                self._state.waiting_for = "frames_ended"
            case FrameCaptured() | BadFrame():
                self._busy_slots.pop(event.request, None)
            case _:
                pass

    def _keep_ready(self) -> None:
        """Run the test piece when it is due, forget faults that have passed, and say what state this is."""
        if self._publisher.error is not None:
            self._state.set_fault("outbox", self._publisher.error)
        elif self._state.has_fault("outbox") and self._answers.outbox_works_again():
            self._state.clear_fault("outbox")
            self._next_test_piece_s = 0.0
        if not self._state.has_fault("test_piece") and time.monotonic() >= self._next_test_piece_s:
            self._next_test_piece_s = time.monotonic() + TEST_PIECE_EVERY_S
            try:
                self._live.run_test_piece()
            except EngineError as problem:
                self._state.set_fault("test_piece", problem)
        self._state.set_weakness("health_endpoint", present=self._health.is_refused)
        state = self._state.message()
        if state != self._said_state:
            self._said_state = state
            self._link.set_state(state)

    # --- threads and the end ------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        # A pipe that is full holds wake-ups enough.
        with suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")

    def _wake_publisher(self) -> None:
        self._publisher.wake()

    def _say_alive(self, life: int) -> None:
        """Publish the sign of life; without a connection nobody waits for it."""
        with suppress(PublishError):
            health = encode_health(life, self._writer.boot_id, self._state.name, **self._health.facts())
            self._link.publish(self._writer.topics.health, health, qos=0)

    def _publish_reply(self, payload: bytes) -> None:
        self._link.publish(self._writer.topics.reply, payload)

    def _publish_unstored(self, payload: bytes) -> None:
        self._link.publish(self._writer.topics.verdict, payload)

    def _shut_down(self, state: State, reasons: tuple[str, ...]) -> None:
        """Answer what still waits, send what can be sent within a second, and say how it ended."""
        self._heartbeat.stop()
        self._health.stop()
        self._answers.timer.stop()
        self._answers.refuse_open_parts("not_ready")
        self._publisher.flush(_FLUSH_S)
        self._publisher.stop()
        self._link.stop(encode_state(state, self._writer.boot_id, reasons=reasons))
        # What came in while the connection closed is answered at the next start.
        self._answers.refuse_open_parts("not_ready")
        log.info("ended state=%s unacknowledged=%d", state, self._outbox.depth())


def _lock_state_dir(station: Station, resources: ExitStack) -> None:
    """Keep a second agent away from the same outbox and the same MQTT client id."""
    station.state_dir.mkdir(parents=True, exist_ok=True)
    lock = resources.enter_context((station.state_dir / "lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise ConfigError(
            f"another agent runs with the state directory {station.state_dir}.",
            fix="Stop that one, or give each station its own state_dir.",
        ) from problem
