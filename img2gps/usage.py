"""What `python -m img2gps.train --help` says, read from the configuration files themselves.

Hydra's own help parses every file of every group anew for each of them, which takes seconds.
"""

from __future__ import annotations

from img2gps.config import package_folder

USAGE = """\
One run: a model trained and validated on photos with positions; a study with -m.

  python -m img2gps.train model=resnet18 lr=0.001
  python -m img2gps.train data=photos data.root=DIR
  python -m img2gps.train -m model=resnet18,resnet50 lr=0.001,0.003 batch_size=8,16
  python -m img2gps.train -m sweeps=table1

--cfg job shows the whole configuration that a command line comes to; --hydra-help has the rest.

Groups, GROUP=CHOICE; what is in one: --cfg job --package GROUP
{groups}

Knobs, KEY=VALUE, with their defaults
{knobs}
"""


def text() -> str:
    """Examples, groups with their choices, and the root knobs with their comments."""
    conf = package_folder("conf")
    choices = {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in [*sorted(path for path in conf.iterdir() if path.is_dir())]
        if folder.name != "hydra"
    }
    choices["sweeps"] = sorted(path.stem for path in package_folder("sweeps").glob("*.yaml"))
    groups = "\n".join(f"  {name} = {' | '.join(found)}" for name, found in choices.items())
    blocks = (conf / "train.yaml").read_text(encoding="utf-8").split("\n\n")
    wanted = [block for block in blocks if not block.startswith(("#", "defaults:", "hydra:"))]
    knobs = "\n".join(f"  {line}".rstrip() for line in "\n\n".join(wanted).splitlines())
    return USAGE.format(groups=groups, knobs=knobs)
