"""The tables of `benchmarks/card.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from card_groups import SIGNIFICANT
from generated import percent, table
from rows import Row

# A share of fewer can hardly lie in an interval: one defect is caught or is not.
FEWEST = 5
_CARDS = {"groups": "as it is", "groups_larger": "with larger defects"}


def tables(rows: Sequence[Row]) -> str:
    """Return what the rows say, as Markdown."""
    shares = ["data set", "seed", "card", "in the interval", "of groups of 5", "as chance allows", "more, less caught"]
    measured = ["data set", "seed", "drawn", "card's sizes", "real sizes", "real contrasts", "caught", "rejected"]
    groups = ["data set", "seed", "drawn as", "size", "contrast", "card says", "real, caught", "chance"]
    return "\n\n".join(
        [
            "### Groups of real defects whose share lies in the card's interval",
            table(shares, [_share_row(row, key) for row in rows for key in _CARDS]),
            "### What was measured",
            table(measured, [_measured_row(row) for row in rows]),
            "### Groups outside the interval of the card as it is",
            table(groups, [line for row in rows for line in _group_rows(row)]),
        ]
    )


def _share_row(row: Row, key: str) -> list[str]:
    groups = row[key]
    large = [group for group in groups if group["real"] >= FEWEST]
    outside = [group for group in groups if not group["within"]]
    more = sum(group["caught"] / group["real"] > group["high"] for group in outside)
    return [
        row["dataset"],
        str(row["seed"]),
        _CARDS[key],
        _share(groups, [group["within"] for group in groups]),
        _share(large, [group["within"] for group in large]),
        _share(groups, [group["chance"] >= SIGNIFICANT for group in groups]),
        f"{more}, {len(outside) - more}",
    ]


def _share(groups: Sequence[Row], held: Sequence[bool]) -> str:
    return f"{sum(held)} of {len(groups)} ({percent(sum(held) / len(groups), 0)})" if groups else "-"


def _measured_row(row: Row) -> list[str]:
    labels = row["by_label"].values()
    return [
        row["dataset"],
        str(row["seed"]),
        ", ".join(f"{value:.0f}" for value in row["contrast_check"].values()),
        "{:.0f} to {:.0f} px".format(*row["size_px"]),
        "{:.0f}, {:.0f}, {:.0f} px".format(*row["real_size_px"]),
        "{:.0f}, {:.0f}, {:.0f}".format(*row["real_contrast"]),
        f"{sum(label['caught'] for label in labels)} of {row['defects']}",
        f"{sum(label['rejected'] for label in labels)} of {row['defects']}",
    ]


def _group_rows(row: Row) -> Iterator[list[str]]:
    for group in row["groups"]:
        if group["within"]:
            continue
        share = group["drawn_caught"] / group["drawn"]
        yield [
            row["dataset"],
            str(row["seed"]),
            " or ".join(group["kinds"]),
            f"beyond {group['size_px']:g} px" if group["beyond"] else f"{group['size_px']:g} px",
            f"{group['contrast']:g}",
            f"{percent(share, 0)} [{percent(group['low'], 0)}, {percent(group['high'], 0)}]",
            f"{group['caught']} of {group['real']}",
            f"{group['chance']:.2g}",
        ]
