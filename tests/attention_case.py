"""An artefact of attention maps, and what its tests share."""

from dataclasses import asdict

from conftest import TEACHER
from matplotlib import pyplot as plt
from matplotlib.text import Text

from mdkd.artefacts import Artefact, Cell, Row
from mdkd.kinds import Attention
from mdkd.specfiles import Pair

STUDENT = "supervised/scenes/resnet8/seed0"

MISSING = "distill/scenes/resnet20--resnet8/rkd/default/seed0"

FAILED = "distill/scenes/resnet20--resnet8/ps/default/seed0"

NO_TEACHER = "Teacher: – (its predictions choose the images)"

REASON = "needs one embedding per label"


def row(label, role, *runs, unavailable=None):
    return Row(label=label, role=role, cells=[Cell(runs=list(runs), unavailable=unavailable)])


ARTEFACT = Artefact(
    name="looks",
    kind="attention",
    title="Attention maps",
    protocol="smoke",
    seeds=[0, 1],
    pairs=[Pair(dataset="scenes", teacher="resnet20", student="resnet8")],
    columns=["Scenes: ResNet20 → ResNet8"],
    metrics=["mAP"],
    rows=[
        row("Teacher", "teacher", TEACHER),
        row("Student", "student", STUDENT, STUDENT.replace("seed0", "seed1")),
        row("RKD", "method", MISSING),
        row("PS", "method", FAILED),
        row("L2D", "method", unavailable=REASON),
    ],
    notes=[],
    options=asdict(Attention(count=2, labels=2)),
)


def texts(shown):
    found = [text.get_text() for text in shown.findobj(Text) if text.get_text()]
    plt.close(shown)
    return found
