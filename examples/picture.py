"""A picture of the rows of a table over time: one bar per window, losses in red.

python3 examples/picture.py links.png --source route --table link --seconds 30
python3 examples/picture.py links.png --file flap.pcapng --table link
"""

import argparse
import time
from itertools import takewhile

import gather
import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # draws to a file; needs no screen
import matplotlib.pyplot as plt

from nlbus import Subscriber, Window, open_capture


def draw(windows: list[Window], title: str, path: str) -> None:
    """Rows per window, and above them the losses: at least (solid), and at most (light)."""
    starts = np.array([window.start for window in windows]).astype("M8[ns]")
    widths = np.array([window.end - window.start for window in windows]).astype("m8[ns]")
    rows = np.array([len(window) for window in windows])
    least, most = np.array([window.lost for window in windows]).reshape(-1, 2).T
    figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    axes.bar(starts, rows, widths, align="edge", label="rows")
    axes.bar(starts, least, widths, rows, align="edge", color="red", label="lost")
    axes.bar(
        starts, most - least, widths, rows + least, align="edge", color="red", alpha=0.3, label="perhaps lost"
    )
    axes.set(title=title, xlabel="time (UTC)", ylabel="a window")
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    """Listen or read, then draw."""
    parser = argparse.ArgumentParser(description="A picture of a table's events")
    parser.add_argument("png")
    parser.add_argument("--file", help="a capture; without it, this machine, live")
    parser.add_argument("--source", default="route")
    parser.add_argument("--table", default="link")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to listen")
    parser.add_argument("--window", type=float, default=1.0, help="seconds per bar")
    options = parser.parse_args()
    end = time.time_ns() + round(options.seconds * 1e9)
    with open_capture(options.file, options.source) if options.file else Subscriber(options.source) as feed:
        every = feed.windows(options.table, options.window)
        windows = [*takewhile(lambda window: window.end <= end, every)] if feed.live else [*every]
    draw(windows, f"{options.source} {options.table}", options.png)
    print(f"{options.png}: {sum(map(len, windows))} rows in {len(windows)} windows")


if __name__ == "__main__":
    gather.run(main)
