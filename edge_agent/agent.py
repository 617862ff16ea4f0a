"""READ FIRST. The agent from start to end: one inspection thread (this one), fed by the camera process and by MQTT.

    trigger -> journal -> capture into the ring -> engine reads the slot -> decision -> outbox -> MQTT -> PLC

Whatever is uncertain on this way ends as INVALID; nothing on it ends as PASS but a decision on a fresh, whole frame.
"""

from __future__ import annotations

import logging
import os
import select
import time
from contextlib import ExitStack, suppress
from queue import SimpleQueue

from edge_agent.answers import Answers
from edge_agent.audit_log import AuditLog
from edge_agent.broker import EmbeddedBroker
from edge_agent.broker_address import resolve_broker
from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import BadFrame, CameraEvent, CameraLost, CameraOpened, FrameCaptured, FramesEnded
from edge_agent.capture import WAIT_S, Capture, FreshCapture
from edge_agent.command_handler import CommandHandler
from edge_agent.command_intake import CommandIntake
from edge_agent.engine_watch import EngineWatch
from edge_agent.frame_keeper import FrameKeeper
from edge_agent.freshness import deadline_ns, too_late
from edge_agent.health import StationHealth
from edge_agent.heartbeat import Heartbeat
from edge_agent.link import MqttLink
from edge_agent.live_recipe import open_live_recipe
from edge_agent.messages import State, encode_health, encode_state
from edge_agent.metrics import Vitals
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import OpenTrigger
from edge_agent.paired_capture import PairedCapture
from edge_agent.part_intake import PartIntake
from edge_agent.pipeline import Judgement, Pipeline
from edge_agent.publisher import OutboxPublisher
from edge_agent.recipe_switch import RecipeSwitch, recipe_folder
from edge_agent.ring import FrameRing
from edge_agent.slots import Slots
from edge_agent.state_dir import lock_state_dir
from edge_agent.station import Station, resolve_references
from edge_agent.station_state import StationState
from edge_agent.station_watch import StationWatch
from edge_agent.verdict_writer import VerdictWriter
from engines.errors import BrokerRefusedError, PublishError, StorageError

log = logging.getLogger(__name__)

SLOTS = 4
# Answers to a trigger that should not have come; all other INVALID parts go into the reject bin for the station's sake.
_NOT_A_REJECT = {"not_ready", "wrong_recipe", "id_conflict", "bad_trigger"}
_TYPICAL_OF_PARTS = 5
_FLUSH_S = 1.0
# A person's `edge-agent outbox` has the state directory for a moment, the agent before until its driver lets it die.
_PATIENCE_S = 5.0
_SHORTEST_LIVE_S = 1.0


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
        lock_state_dir(station.state_dir, resources, patience_s=_PATIENCE_S)
        self._outbox = Outbox(station.state_dir / "outbox.db", dedupe_window_s=station.trigger.dedupe_window_s)
        resources.callback(self._outbox.close)
        self._audit = AuditLog(station.state_dir)
        self._live = open_live_recipe(recipe_folder(station), station.engine)
        resources.callback(self._live.close)
        self._ring = FrameRing.create(self._live.recipe.frame_shape, SLOTS)
        resources.callback(self._ring.close)
        self._pipeline = Pipeline(self._live, self._ring)
        is_fired = station.camera.mode == "hardware_triggered"
        self._camera = CameraProcess(resolve_references(station.camera.uri), self._ring, is_fired=is_fired)
        resources.callback(self._camera.close)
        self._slots = Slots(self._camera, SLOTS)
        self._capture: Capture = (
            PairedCapture(self._camera, self._slots, station.trigger, self._next_event)
            if is_fired
            else FreshCapture(self._slots, station.trigger, self._next_event)
        )
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
            publish_late=self._publish_late,
        )
        self._intake = PartIntake(
            self._outbox,
            self._capture,
            begun=self._part_begun,
            resend=self._wake_publisher,
            refuse=self._answers.outbox_failed,
            has_time=self._has_time,
            overload=self._refuse_overload,
        )
        self._commands = CommandIntake(self._wake, lambda command: self._handler.refuse(command))  # noqa: PLW0108 - made later
        self._link, self._publisher = self._connect(resources)

        self._engine_watch = EngineWatch(self._state, self._live)
        self._watch = StationWatch(self._state, self._live, station.alarms)
        self._keeper = FrameKeeper(station, self._live)
        switch = RecipeSwitch(station, self._live, self._wake)
        self._handler = CommandHandler(
            self._live, self._state, self._watch, self._keeper, switch, self._audit, self._publish_reply
        )
        self._turns = 0
        self._typical_ns = 0.0
        self._heartbeat = Heartbeat(
            {
                "inspection": lambda: self._turns,
                "publisher": lambda: self._publisher.beats,
                "deadline": lambda: self._answers.timer.turns,
            },
            self._say_alive,
        )
        vitals = Vitals(
            state=self._state,
            tally=self._answers.tally,
            watch=self._watch,
            live=self._live,
            outbox=self._outbox,
            camera=self._camera,
            link=self._link,
            keeper=self._keeper,
            heartbeat=self._heartbeat,
        )
        self._health = StationHealth(station, vitals)
        self._overloads: SimpleQueue[OpenTrigger] = SimpleQueue()
        self._stopping = False
        self._said_state = b""

    def run(self) -> None:
        """Inspect until `stop`.

        Raises:
            ConfigError: The camera says that it never can work this way.
            EngineError: The engine fails again and again; a new process may help.
        """
        log.info("starting station=%s recipe=%s", self.station.station, self._live.recipe.name)
        self._answers.refuse_open_parts("restart")
        self._camera.start()
        self._link.start()
        self._publisher.start()
        self._answers.timer.start()
        self._keeper.start()
        self._heartbeat.start()
        self._health.start()
        farewell: tuple[State, tuple[str, ...]] = ("error", ("crashed",))
        try:
            while not self._stopping:
                self._wait()
                if waiting := self._intake.next_part():
                    self._inspect(*waiting)
                self._take_camera_events()
                if not self._intake.has_parts or self._commands.is_overdue:
                    self._handler.obey(self._commands.next_commands())
                    self._handler.end_selection()
                self._keep_ready()
                if self.station.camera.mode == "free_run" and self._state.is_inspecting:
                    self._slots.request_all()
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
        broker = resolve_broker(mqtt)
        if mqtt.embedded:
            resources.enter_context(EmbeddedBroker(broker.port))
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
            live_for_s=max(_SHORTEST_LIVE_S, self.station.trigger.deadline_ms / 1000),
            keep_days=mqtt.keep_days,
            on_aged=self._note_aged,
        )
        return link, publisher

    # --- one part -----------------------------------------------------------------------------------------------

    def _part_begun(self, part: OpenTrigger) -> None:
        """Start the part's clock, in MQTT's thread, whatever the inspection is doing."""
        self._answers.timer.watch(part, self._deadline_ns(part))
        self._wake()

    def _inspect(self, part: OpenTrigger, refused: str | None) -> None:
        """Give a part its one verdict."""
        began_ns = time.monotonic_ns()
        reason = refused or self._reason_to_refuse(part)
        event = None if reason else self._capture.frame_for(part)
        judgement = self._pipeline.judge(event) if event else Judgement(reason=reason or "no_frame")
        if reason is None and (unfit := self._capture.unfit(event, part)):
            judgement = Judgement(reason=unfit, stage_ns=judgement.stage_ns)
        elif time.monotonic_ns() > self._deadline_ns(part) and reason is None:
            # The first verdict counts; what was found is only a late result behind it.
            self._answers.finish(Judgement(reason="deadline"), None, part)
        self._finish(judgement, event, part, is_counted=reason not in _NOT_A_REJECT)
        self._capture.done(part)
        if reason is None:
            self._typical_ns += (time.monotonic_ns() - began_ns - self._typical_ns) / _TYPICAL_OF_PARTS

    def _finish(
        self,
        judgement: Judgement,
        event: FrameCaptured | BadFrame | None,
        part: OpenTrigger | None,
        *,
        is_counted: bool = True,
    ) -> None:
        """Answer first; then look at what was seen, while the slot still holds it."""
        stored = self._answers.finish(judgement, event, part)
        if judgement.reason == "engine_error":
            self._engine_watch.hurry()
        frame = None
        # A frame that was given up during a long inference may be another one by now.
        if isinstance(event, FrameCaptured) and self._ring.generation(event.slot) == event.generation:
            frame = self._ring.slot(event.slot)
        if is_counted:
            verdict = "INVALID" if stored is None or stored.is_late else stored.inspection.verdict
            self._watch.add(verdict, judgement.decision, frame)
        if stored is not None and frame is not None:
            self._keeper.keep(stored, judgement, frame)

    def _has_time(self, part: OpenTrigger, waiting: int) -> bool:
        """Whether a part would have its verdict in time behind so many others; for MQTT's thread."""
        # Besides those that wait, the one in hand and the part itself.
        return time.monotonic_ns() + (waiting + 2) * self._typical_ns <= self._deadline_ns(part)

    def _refuse_overload(self, part: OpenTrigger) -> None:
        """Answer at once a part for which there is no time; in MQTT's thread."""
        self._answers.finish(Judgement(reason="overload"), None, part)
        self._overloads.put(part)

    def _deadline_ns(self, part: OpenTrigger) -> int:
        return deadline_ns(part.trigger, self.station.trigger)

    def _reason_to_refuse(self, part: OpenTrigger) -> str | None:
        if part.trigger.recipe is not None and part.trigger.recipe != self._live.recipe.name:
            return "wrong_recipe"
        if late := too_late(part.trigger, self.station.trigger, time.monotonic_ns()):
            return late
        return None if self._state.name == "ready" else "not_ready"

    # --- camera, state and time ---------------------------------------------------------------------------------

    def _wait(self) -> None:
        self._turns += 1
        timeout_s = 0 if self._intake.has_parts else WAIT_S
        select.select([self._camera.fileno(), self._wake_reader], [], [], timeout_s)
        with suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)

    def _take_camera_events(self) -> None:
        while (event := self._next_event(0)) is not None:
            if self.station.camera.mode == "free_run" and isinstance(event, FrameCaptured | BadFrame):
                # What was asked for before the station halted is not looked at.
                if self._state.is_inspecting:
                    self._finish(self._pipeline.judge(event), event, None)
                return

    def _next_event(self, timeout_s: float) -> CameraEvent | None:
        """Wait for the camera's next event; whoever needs to know of it is told."""
        self._turns += 1
        event = self._camera.next_event(timeout_s)
        self._slots.note(event)
        match event:
            case CameraOpened():
                self._state.clear_fault("camera_lost")
                self._state.waiting_for = None
                self._pipeline.refuses_repeats = event.is_live
                self._writer.is_simulated = event.is_simulated
            case CameraLost():
                if event.is_final:
                    raise event.error
                self._state.set_fault("camera_lost", event.error)
            case FramesEnded():
                self._state.waiting_for = "frames_ended"
            case _:
                pass
        self._capture.note(event)
        return event

    def _keep_ready(self) -> None:
        """Run the test piece when it is due, forget faults that have passed, and say what state this is."""
        if self._publisher.error is not None:
            self._state.set_fault("outbox", self._publisher.error)
        elif (self._state.has_fault("outbox") or self._answers.has_unstored) and self._answers.outbox_works_again():
            self._state.clear_fault("outbox")
            self._engine_watch.hurry()
        self._engine_watch.look()
        while not self._overloads.empty():
            self._overloads.get()
            self._watch.add("INVALID", None, None)
        self._state.set_weakness("outbox_filling", present=self._outbox.is_filling)
        self._state.set_weakness("frames_not_kept", present=self._keeper.error is not None)
        self._state.set_weakness("mqtt_refused", present=isinstance(self._link.error, BrokerRefusedError))
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

    def _note_aged(self, count: int) -> None:
        log.error("outbox_aged=%d verdicts that nobody acknowledged in time are removed", count)
        with suppress(StorageError):
            self._audit.note("outbox_aged", count=count)

    def _publish_reply(self, payload: bytes) -> None:
        self._link.publish(self._writer.topics.reply, payload)

    def _publish_unstored(self, payload: bytes) -> None:
        self._link.publish(self._writer.topics.verdict, payload)

    def _publish_late(self, result_id: str, payload: bytes) -> None:
        self._link.publish(self._writer.topics.late(result_id), payload, qos=0)

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
        self._keeper.stop()
        log.info("ended state=%s unacknowledged=%d", state, self._outbox.depth())
