"""The tables from rows that are known to the last digit."""

import copy

from detection_tables import tables
from rows import Row


def figures(image_auroc, **changes):
    given = {
        "image_auroc": image_auroc,
        "image_auroc_interval_95": [image_auroc - 0.1, 1.0],
        "pixel_auroc": 0.95,
        "aupro": 0.9,
        "aupro_005": 0.6,
        "recall": 0.75,
        "precision": 1.0,
        "f1": 0.857,
        "accuracy": 0.8,
        "average_precision": 0.97,
        "iou": 0.3,
        "dice": 0.46,
        "false_reject_rate": 0.1,
        "promised_false_reject_rate": 0.04,
        "confusion": {"good": {"PASS": 9, "FAIL": 1, "INVALID": 0}, "defective": {"PASS": 1, "FAIL": 2, "INVALID": 1}},
        "seconds_per_1000_frames": 41.4,
        "test_pieces_rejected": True,
        "by_defect": {
            "crack": {"caught": 3, "frames": 4, "image_auroc": 0.8, "pixel_auroc": None, "aupro": None},
        },
    }
    return {**given, **changes}


def row(dataset="bottle", seed=0, image_auroc=0.9, equal=99, options=None, **changes) -> Row:
    against = {"frames": 100, "equal_verdicts": equal, "image_auroc_difference": -0.001, "pixel_auroc_difference": 0.0}
    against |= {"map_difference_good": 0.0123, "map_difference_defective": 0.0045}
    return {
        "dataset": dataset,
        "seed": seed,
        "budget": {"minutes": 15.0},
        "options": options or {},
        "commit": "abc1234",
        "machine": {"processor": "Nine", "cpus": 2},
        "load_begin": 0.5,
        "load_end": 2.1,
        "false_reject_rate_asked": 0.05,
        "training": {
            "minutes": 15.04,
            "minutes_asked": 15.0,
            "steps": 1234,
            "errors": ["l2", "msgms"],
            "box_map_px": 5,
            "map_size": "256x256",
            "gmac": 2.425,
            "parameters": 1214668,
            "bf16": True,
            "device": "cpu",
            "images": {"trained": 140, "tuning": 16, "set_aside": 53},
        },
        "precisions": {name: figures(image_auroc) for name in ("fp32", "tensorrt", "cpu")},
        "against_fp32": {"tensorrt": copy.deepcopy(against), "cpu": against},
        **changes,
    }


def test_no_rows_say_so():
    assert tables([]) == "No row has been measured yet."


def test_the_line_of_a_row():
    assert (
        "| bottle | defaults | 0 | 15.0 (15) | 1,234 | 0.9000 [0.800, 1.000] | 0.9500 | 0.9000 | 0.6000 | 0.750 | "
        "10.0 % (4.0 %) | l2+msgms, 5 | 256x256 | 2.42 | 1,214,668 | yes | cpu | abc1234 |"
    ) in tables([row()])


def test_tiles_are_counted_apart():
    tiled = row(options={"tiles": "2x2"})
    tiled["training"].update({"gmac": 9.7, "gmac_per_tile": 2.425})
    assert "| 9.70 (2.42 per tile) |" in tables([tiled])


def test_seeds_have_a_mean_and_one_command():
    text = tables([row(seed=1, image_auroc=0.8), row(seed=0, image_auroc=0.9), row("screw")])
    assert "| **bottle** | **defaults** | **mean of 2** |  |  | **0.8500** | **0.9500** |" in text
    assert "**screw**" not in text
    assert "    python benchmarks/detection.py --data DATA/bottle --minutes 15 --seeds 0,1\n" in text
    assert text.index("| bottle | defaults | 0 |") < text.index("| bottle | defaults | 1 |")


def test_a_row_measured_again_counts_once():
    text = tables([row(image_auroc=0.7), row(image_auroc=0.9)])
    assert "0.7000" not in text
    assert "mean of" not in text


def test_verdicts_are_pooled_over_data_sets_and_the_worst_change_is_shown():
    rows = [row(equal=100), row("screw", equal=97), row("screw", equal=90, options={"objective": "plain"})]
    rows[1]["against_fp32"]["cpu"]["image_auroc_difference"] = -0.02
    text = tables(rows)
    assert "| cpu | all rows | 287 of 300 (95.67 %) | -0.0200 |" in text
    assert "| cpu | rows of the default objective | 197 of 200 (98.50 %) | -0.0200 |" in text
    assert "| tensorrt | all rows | 287 of 300 (95.67 %) | -0.0010 |" in text


def test_the_bar_beside_plain_takes_its_better_seed():
    plain = {"objective": "plain", "errors": "l2"}
    rows = [row(seed=0, image_auroc=0.6, options=plain), row(seed=1, image_auroc=0.8, options=plain)]
    text = tables([*rows, row(image_auroc=0.89)])
    assert "| bottle | defaults | --minutes 15 | 0.8000 (2) | 0.9000 | 0.8900 | **not reached** |" in text
    assert "| reached |" in tables([*rows, row(image_auroc=0.9)])
    assert "The bar beside" not in tables([row()])


def test_what_cannot_be_known_is_a_dash():
    blind = row()
    for part in blind["precisions"].values():
        part.update({"pixel_auroc": None, "aupro": None, "aupro_005": None, "iou": None, "dice": None})
    text = tables([blind])
    assert "| 0.9000 [0.800, 1.000] | - | - | - | 0.750 |" in text
    assert "| bottle | defaults | 0 | crack | 3 of 4 | 0.8000 | - | - |" in text
