"""READ FIRST. The agent from start to end: one inspection thread (this one), fed by the camera process and by MQTT.

    trigger -> journal -> capture into the ring -> engine reads the slot -> decision -> outbox -> MQTT -> PLC

`part_intake.py` has the first two steps, `inspector.py` those from capture to outbox, `publisher.py` the rest.
Whatever is uncertain on this way ends as INVALID; nothing on it ends as PASS but a decision on a fresh, whole frame.
"""

from __future__ import annotations

import logging
import select
from contextlib import ExitStack, closing, suppress

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
from edge_agent.freshness import deadline_ns
from edge_agent.health import StationHealth
from edge_agent.heartbeat import Heartbeat
from edge_agent.inspector import Inspector
from edge_agent.link import MqttLink
from edge_agent.live_recipe import open_live_recipe
from edge_agent.messages import State, encode_health, encode_state
from edge_agent.metrics import Vitals
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import OpenTrigger
from edge_agent.paired_capture import PairedCapture
from edge_agent.part_intake import PartIntake
from edge_agent.pipeline import Pipeline
from edge_agent.publisher import OutboxPublisher
from edge_agent.recipe_switch import RecipeSwitch, recipe_folder
from edge_agent.ring import FrameRing
from edge_agent.slots import Slots
from edge_agent.state_dir import lock_state_dir
from edge_agent.station import Station, resolve_references
from edge_agent.station_state import StationState
from edge_agent.station_watch import StationWatch
from edge_agent.verdict_writer import VerdictWriter
from edge_agent.wake import WakePipe
from engines.errors import BrokerRefusedError, PublishError, StorageError

log = logging.getLogger(__name__)

SLOTS = 4
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
        self._stopping, self._turns, self._said_state = False, 0, b""
        opened = resources.enter_context
        lock_state_dir(station.state_dir, resources, patience_s=_PATIENCE_S)
        self._wake_pipe = opened(closing(WakePipe()))
        outbox = Outbox(station.state_dir / "outbox.db", dedupe_window_s=station.trigger.dedupe_window_s)
        self._outbox = opened(closing(outbox))
        self._audit = AuditLog(station.state_dir)

        self._live = opened(closing(open_live_recipe(recipe_folder(station), station.engine)))
        ring = opened(closing(FrameRing.create(self._live.recipe.frame_shape, SLOTS)))
        self._pipeline = Pipeline(self._live, ring)
        self._camera, self._slots, self._capture = self._make_capture(ring, resources)

        self._writer = VerdictWriter(self._outbox, self._live, station, is_simulated=True)
        self._state = StationState(station, self._live, self._writer.boot_id)
        self._link, self._publisher = self._connect(resources)
        self._answers = Answers(
            self._outbox,
            self._writer,
            self._state,
            wake_publisher=self._publisher.wake,
            publish_unstored=self._link.publish_verdict,
            publish_late=self._link.publish_late,
        )

        self._engine_watch = EngineWatch(self._state, self._live)
        self._keeper = FrameKeeper(station, self._live)
        self._watch = StationWatch(self._state, self._live, self._keeper, station.alarms)
        self._inspector = Inspector(
            station.trigger,
            self._capture,
            self._pipeline,
            self._answers,
            self._state,
            self._engine_watch,
            self._watch,
            self._keeper,
        )
        self._intake = PartIntake(
            self._outbox,
            self._capture,
            begun=self._part_begun,
            resend=self._publisher.wake,
            refuse=self._answers.outbox_failed,
            has_time=self._inspector.has_time,
            overload=self._inspector.refuse_overload,
        )
        switch = RecipeSwitch(station, self._live, self._wake_pipe.wake)
        self._handler = CommandHandler(
            self._live, self._state, self._watch, self._keeper, switch, self._audit, self._link.publish_reply
        )
        self._commands = CommandIntake(self._wake_pipe.wake, self._handler.refuse)
        self._heartbeat, self._health = self._make_health()

    def run(self) -> None:
        """Inspect until `stop`.

        Raises:
            ConfigError: The camera says that it never can work this way.
            EngineError: The engine fails again and again; a new process may help.
            OutboxError: The outbox is damaged; the next start keeps its file aside.
        """
        log.info("starting station=%s recipe=%s", self.station.station, self._live.recipe.name)
        self._answers.refuse_open_parts("restart")
        self._start()
        farewell: tuple[State, tuple[str, ...]] = ("error", ("crashed",))
        try:
            while not self._stopping:
                self._wait()
                if self._outbox.damage is not None:
                    farewell = "error", ("outbox",)
                    raise self._outbox.damage
                if waiting := self._intake.next_part():
                    self._inspector.inspect(*waiting)
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
        self._wake_pipe.wake()

    def reload(self) -> None:
        """Take the thresholds in force after the part in hand; safe in a signal handler and from any thread."""
        self._commands.hang_up()

    # --- start --------------------------------------------------------------------------------------------------

    def _make_capture(self, ring: FrameRing, resources: ExitStack) -> tuple[CameraProcess, Slots, Capture]:
        wish, limits = self.station.camera, self.station.trigger
        is_fired = wish.mode == "hardware_triggered"
        camera = resources.enter_context(closing(CameraProcess(resolve_references(wish.uri), ring, is_fired=is_fired)))
        slots = Slots(camera, SLOTS)
        if is_fired:
            return camera, slots, PairedCapture(camera, slots, limits, self._next_event)
        return camera, slots, FreshCapture(slots, limits, self._next_event)

    def _connect(self, resources: ExitStack) -> tuple[MqttLink, OutboxPublisher]:
        mqtt, topics, boot_id = self.station.mqtt, self._writer.topics, self._writer.boot_id
        broker = resolve_broker(mqtt)
        if mqtt.embedded:
            resources.enter_context(EmbeddedBroker(broker.port))
        link = MqttLink(broker, topics, boot_id, state=encode_state("preoperational", boot_id))
        publisher = OutboxPublisher(
            self._outbox,
            link,
            topics,
            ack=mqtt.ack,
            consumer=mqtt.consumer,
            ack_timeout_s=mqtt.ack_timeout_s,
            live_for_s=max(_SHORTEST_LIVE_S, self.station.trigger.deadline_ms / 1000),
            keep_days=mqtt.keep_days,
            on_aged=self._note_aged,
        )
        return link, publisher

    def _make_health(self) -> tuple[Heartbeat, StationHealth]:
        turns = {
            "inspection": lambda: self._turns,
            "publisher": lambda: self._publisher.beats,
            "deadline": lambda: self._answers.timer.turns,
        }
        heartbeat = Heartbeat(turns, self._say_alive)
        vitals = Vitals(
            state=self._state,
            tally=self._answers.tally,
            watch=self._watch,
            live=self._live,
            outbox=self._outbox,
            camera=self._camera,
            link=self._link,
            keeper=self._keeper,
            heartbeat=heartbeat,
        )
        return heartbeat, StationHealth(self.station, vitals)

    def _start(self) -> None:
        self._camera.start()
        self._link.start(
            on_trigger=self._intake.take,
            on_ack=self._publisher.on_ack,
            on_command=self._commands.take,
            on_live=self._publisher.on_live,
            on_published=self._publisher.on_published,
        )
        self._publisher.start()
        self._answers.timer.start()
        self._keeper.start()
        self._heartbeat.start()
        self._health.start()

    # --- the loop -----------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        self._turns += 1
        timeout_s = 0 if self._intake.has_parts else WAIT_S
        select.select([self._camera.fileno(), self._wake_pipe.fileno()], [], [], timeout_s)
        self._wake_pipe.clear()

    def _take_camera_events(self) -> None:
        while (event := self._next_event(0)) is not None:
            if self.station.camera.mode == "free_run" and isinstance(event, FrameCaptured | BadFrame):
                # What was asked for before the station halted is not looked at.
                if self._state.is_inspecting:
                    self._inspector.inspect_frame(event)
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
        elif self._answers.recover():
            self._engine_watch.hurry()
        self._engine_watch.look()
        self._inspector.count_overloads()
        self._state.set_weakness("outbox_filling", present=self._outbox.is_filling)
        self._state.set_weakness("frames_not_kept", present=self._keeper.error is not None)
        self._state.set_weakness("mqtt_refused", present=isinstance(self._link.error, BrokerRefusedError))
        self._state.set_weakness("health_endpoint", present=self._health.is_refused)
        state = self._state.message()
        if state != self._said_state:
            self._said_state = state
            self._link.set_state(state)

    # --- from other threads, and the end --------------------------------------------------------------------------

    def _part_begun(self, part: OpenTrigger) -> None:
        """Start the part's clock, in MQTT's thread, whatever the inspection is doing."""
        self._answers.timer.watch(part, deadline_ns(part.trigger, self.station.trigger))
        self._wake_pipe.wake()

    def _say_alive(self, life: int) -> None:
        """Publish the sign of life; without a connection nobody waits for it."""
        with suppress(PublishError):
            facts = self._health.facts()
            self._link.publish_health(encode_health(life, self._writer.boot_id, self._state.name, **facts))

    def _note_aged(self, count: int) -> None:
        log.error("outbox_aged=%d verdicts that nobody acknowledged in time are removed", count)
        with suppress(StorageError):
            self._audit.note("outbox_aged", count=count)

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
