"""Draw the figure of the README from results/mnist-quick.json.

Run: python benchmarks/readme_figure.py
"""

from pathlib import Path

from gfs_tutorial import plots, results

ROOT = Path(__file__).parents[1]


def main() -> None:
    plots.use_style()
    rows = results.read(ROOT / "results" / "mnist-quick.json")["rows"]
    lines = {
        "dense_loss": "dense network",
        "subnetwork_loss": "subnetwork, 200 picks",
        "bound": "certificate",
    }
    ax = plots.against_iterations(rows, lines, of=lambda row: row["m"] == 4000)
    ax.figure.savefig(ROOT / "book" / "images" / "readme.png")


if __name__ == "__main__":
    main()
