"""Which sizes of the small model are worth their time: variants, trained for equally long, on unseen scenes.

`python scripts/ablate_mini.py minutes unseen folder key=value ...`, such as
`python scripts/ablate_mini.py 8 data/demos runs/ablation datasets=[data/demos3,data/demos4]`
"""

import sys
from pathlib import Path

from vla.training.ablation import ablate, table


def main(minutes: str, unseen: str, folder: str, *overrides: str) -> None:
    """Train and measure, or go on with that; print the table."""
    conf = Path(__file__).resolve().parents[1] / "conf"
    Path(folder).mkdir(parents=True, exist_ok=True)
    found = table(ablate(conf, overrides, unseen, float(minutes), Path(folder), sys.stdout))
    (Path(folder) / "ablation.md").write_text(f"{found}\n")
    print(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
