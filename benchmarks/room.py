"""Where the networks of a study are trained and measured."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lessons import Budget, Material, choose, grey_copy, has_begun, learn, prepare, schedule_of
from looks import note_look
from map_figures import complete, floor_share, measure_maps
from origin import code_commit, commit_at_begin, load_average, machine, today
from plans import KEY, Lesson, Measurement
from rows import Row, key_of, read_rows

from engines.error_maps import LEARNED
from engines.errors import UsageError
from engines.training import Trained


class Room:
    """The place for one data set and one budget: what is kept there serves the next run.

    Args:
        study: Name of the program.
        arguments: Of its command line.
        dataset: The data set's name.
        folder: Where it lies.
        candidates: Sets of error maps among which maps and boxes are chosen.
    """

    def __init__(
        self,
        study: str,
        arguments: argparse.Namespace,
        dataset: str,
        folder: Path,
        candidates: Sequence[Sequence[str]],
    ) -> None:
        self._study, self._arguments, self._candidates = study, arguments, candidates
        self._dataset, self._folder = dataset, folder
        self._budget = Budget(arguments.size, arguments.steps, arguments.seed, arguments.device)
        budget = f"{dataset}-{arguments.size}-{arguments.steps}-{arguments.seed}"
        self._work: Path = arguments.work / re.sub(r"[^A-Za-z0-9._-]", "-", budget)
        self._materials: dict[bool, Material] = {}

    def key(self, lesson: Lesson, measurement: Measurement) -> Row:
        """Return the entries by which a row is found again."""
        asked = {name: value for name, value in asdict(self._budget).items() if name in KEY}
        return {"dataset": self._dataset, "lesson": lesson.name, "measurement": measurement.name, **asked}

    def measure(self, lesson: Lesson, measurements: Sequence[Measurement]) -> Iterator[Row]:
        """Train one network and yield a row for each measurement; each is to be kept before the next is asked for.

        Raises:
            UsageError: It cannot learn from this data set.
        """
        material = self._material(grey=lesson.grey)
        folder = self._work / re.sub(r"[^a-z0-9.]+", "-", lesson.name)
        commit = commit_at_begin(folder, kept=has_begun(folder))
        trained = learn(material, lesson, self._budget, folder)
        possible = [[*c] for c in self._candidates if trained.core.head is not None or LEARNED not in c]
        chosen = choose(trained, material, possible, self._budget.seed)
        schedule = schedule_of(lesson, self._budget)
        measured: dict[tuple[str, int, float | None], Row] = {}
        for asked in measurements:
            measurement = self._resolved(asked)
            errors = [*(measurement.errors or chosen.errors)]
            own = chosen if errors in possible else choose(trained, material, [errors], self._budget.seed)
            choice = complete(measurement, own)
            what = "+".join(errors), choice.box_map_px, measurement.floor_share
            print(f"{lesson.name}: {measurement.name} ({what[0]}, box {what[1]})", flush=True)
            if what not in measured:
                with floor_share(measurement.floor_share):
                    measured[what] = measure_maps(material, schedule, trained, choice, self._work)
                self._note(lesson, measurement, measured[what])
            origin = {
                "commit": commit,
                "commit_measured": code_commit(),
                "date": today(),
                "machine": machine(),
                "load": load_average(),
            }
            yield {
                **self.key(lesson, measurement),
                **_training_of(trained),
                **measured[what],
                "command": self._command,
                **origin,
            }

    def _resolved(self, measurement: Measurement) -> Measurement:
        if measurement.like is None:
            return measurement
        lesson, name = measurement.like
        key = key_of(self.key(Lesson(lesson), Measurement(name)), KEY)
        found = [row for row in read_rows(self._arguments.rows) if key_of(row, KEY) == key]
        if not found:
            raise UsageError(
                f"`{measurement.name}` needs the row of {lesson}, {name}.",
                fix=f"Measure {lesson} first, or all networks.",
            )
        return replace(measurement, errors=found[-1]["errors"], box_map_px=found[-1]["box_map_px"])

    def _material(self, *, grey: bool) -> Material:
        if grey not in self._materials:
            name = "grey" if grey else "colour"
            self._work.mkdir(parents=True, exist_ok=True)
            dataset = grey_copy(self._folder, self._work / "grey-frames") if grey else self._folder
            self._materials[grey] = prepare(dataset, self._budget.size, self._work / f"frames-{name}")
        return self._materials[grey]

    @property
    def _command(self) -> str:
        words = f"--data DATA/{self._dataset} --size {self._budget.size} --steps {self._budget.steps}"
        return f"python benchmarks/{self._study}.py {words} --seed {self._budget.seed}"

    def _note(self, lesson: Lesson, measurement: Measurement, figures: Row) -> None:
        note_look(
            self._arguments.looks,
            day=today(),
            commit=code_commit(),
            dataset=self._dataset,
            command=f"{self._command} ({lesson.name}, {measurement.name})".replace("`", ""),
            image_auroc=figures["image_auroc"],
        )


def _training_of(trained: Trained) -> Row:
    return {
        "minutes": trained.seconds / 60,
        "core_input": trained.core.core_input,
        "device": trained.device.name,
        "bf16": trained.device.precision == "bf16",
        "loss": trained.losses[-1],
    }
