"""README and docs keep their word: every `python -m rt_hands...` in them is run, or its options are asked for by name.

What is run, on the bundled sample, is in RUN. Everything else is in ONLY_HELP with the reason: its --help must work and
know every option that the page uses. Links and pictures must be there.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import cv2
import pytest

from rt_hands.paths import sample_dir
from rt_hands.session import Session

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

RUN: dict[str, list[str]] = {
    "rt_hands.live": ["--source", "sample", "--no-window", "--max-frames", "2", "--record", "session"],
    "rt_hands.live --list-cameras": ["--list-cameras"],
    "rt_hands.process session": ["session", "--out", "hands.csv", "--engine", "onnxruntime"],
    "rt_hands.calibrate board --out board": ["board", "--out", "board"],
    "rt_hands.formats calibration.toml rig.toml": [str(sample_dir() / "rig.toml"), "rig.toml"],
    "rt_hands.formats rig.toml out.yml --to opencv": ["rig.toml", "out.yml", "--to", "opencv"],
    "rt_hands.formats hands.parquet hands.c3d": ["hands.csv", "hands.jsonl"],
    "rt_hands.formats hands_2d.parquet left.json --camera cam_left --size-px 640 480": [
        *("hands_2d.csv", "left.json", "--camera", "cam_left", "--size-px", "640", "480")
    ],
}
"""Command as the pages have it: arguments it is run with here, in this order, in one folder."""

ONLY_HELP = {
    "rt_hands.live": "cameras, or a GPU; the same program is run above",
    "rt_hands.capture": "cameras; tests/test_recording.py records simulated ones",
    "rt_hands.process": "a session of the reader's; run above",
    "rt_hands.calibrate": "pictures of a board; tests/test_calibrate*.py make them",
    "rt_hands.formats": "a calibration of the reader's; run above",
    "rt_hands.bench": "minutes; tests/test_bench.py runs the parts",
    "rt_hands.evaluate": "minutes, some want the data folder; tests/test_*evaluat*.py run the parts",
    "rt_hands.build_engine": "a GPU; tests/test_build_engine.py runs it on a stand-in",
    "rt_hands.synth": "minutes; tests/test_synth_*.py run the parts",
    "rt_hands.training": "hours; tests/test_train_*.py run a few steps",
}
"""By module, or package, of the command."""

_COMMAND = re.compile(r"python -m (rt_hands[\w.]*)((?: [^\s`#|()]+)*)((?:`, `\w+(?=`))*)")


def commands() -> list[tuple[str, str]]:
    """(page, command from `rt_hands` on), each once; `a`, `b` after a command are its other parts."""
    found: dict[str, str] = {}
    for page in PAGES:
        text = re.sub(r"\s*\\\n\s*", " ", page.read_text(encoding="utf-8"))
        for module, arguments, others in _COMMAND.findall(text):
            words = [module.rstrip("."), *(word.rstrip(".,;:") for word in arguments.split())]
            found.setdefault(" ".join(words), page.name)
            for other in re.findall(r"\w+", others):
                found.setdefault(" ".join([words[0], other]), page.name)
    return [(page, command) for command, page in found.items()]


def reason(command: str) -> str:
    """Why a command is not run; KeyError for one that nobody thought of."""
    module = command.split()[0]
    return next(ONLY_HELP[known] for known in ONLY_HELP if f"{module}.".startswith(f"{known}."))


def main_of(module: str):
    """`main` of a module, or of a package's __main__."""
    if module.startswith(("rt_hands.synth", "rt_hands.training")):
        for package in ("torch", "anny", "moderngl", "webdataset"):
            pytest.importorskip(package, reason=f"The data engine and training need {package}.")
    if (ROOT / module.replace(".", "/")).is_dir():
        module += ".__main__"
    return importlib.import_module(module).main


def test_the_commands_are_found():
    found = {command for _, command in commands()}
    assert len(found) > 30
    assert "rt_hands.evaluate cpm" in found and "rt_hands.synth" in found
    assert set(RUN) <= set(found), "RUN has a command that no page has any more"


def test_what_is_run_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command, arguments in RUN.items():
        assert main_of(command.split()[0])(arguments) == 0, command
    made = {path.name for path in tmp_path.iterdir()}
    assert {
        "session",
        "hands.csv",
        "board.pdf",
        "board.toml",
        "rig.toml",
        "out.yml",
        "hands.jsonl",
        "left.json",
    } <= made


@pytest.mark.parametrize("command", [c for _, c in commands() if c not in RUN])
def test_help_knows_every_option(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert reason(command)
    module, *words = shlex.split(command)
    # The first word is a part's name where the module has parts.
    part = words[:1] if words and re.fullmatch(r"[a-z]+", words[0]) else []
    main = main_of(module)
    try:
        code = main([*part, "--help"])
    except SystemExit as ended:
        code = ended.code
    text = capsys.readouterr().out
    assert not code and "usage" in text.lower(), command
    for word in words:
        if word.startswith("--") and word != "--help":
            assert re.search(rf"{re.escape(word.partition('=')[0])}\b", text), f"{command}: no option {word}"


def undescribed(source: str) -> list[str]:
    """Options without a line of help: fields of the classes given to `tyro.cli` that no string follows."""
    parsed = ast.parse(source)
    asked = set(re.findall(r"tyro\.cli\(\s*(\w+),", source))
    classes = [node for node in parsed.body if isinstance(node, ast.ClassDef) and node.name in asked]
    missing = []
    for node in classes:
        for field, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and not isinstance(after, ast.Expr):
                missing.append(ast.unparse(field.target))
    return missing


OPTIONS_IN = [
    "",
    "benchmarks",
    "calibration/commands",
    "capture",
    "evaluation",
    "formats",
    "synth",
    "training",
]


@pytest.mark.parametrize("folder", OPTIONS_IN)
def test_every_option_has_its_line_of_help(folder):
    modules = sorted((ROOT / "rt_hands" / folder).glob("*.py"))
    missing = {path.name: undescribed(path.read_text(encoding="utf-8")) for path in modules}
    assert not {name: options for name, options in missing.items() if options}


@pytest.mark.parametrize(
    "page",
    # formats.md is run by tests/test_formats_hands.py
    [page for page in PAGES if "```python" in page.read_text() and page.name != "formats.md"],
    ids=lambda p: p.name,
)
def test_python_on_the_pages_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "session").symlink_to(sample_dir())
    with Session("session") as session:
        cv2.imwrite("picture.jpg", session[10].frames[0].image_bgr)
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        names: dict[str, object] = {}
        exec(block, names)
        if "Detector" in names:
            assert names["hands"].present.all() and names["hands"].points_px.shape == (170, 3)
        else:
            assert names["frames"].index == 60 and names["source"].length == 30
            names["source"].close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        # The report is written by a command and may not have been yet.
        if not target.startswith("http") and not target.endswith("REPORT.md"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_quotes_the_default_networks_card():
    """The CPM's row beside the source's is what the card of the shipped weights says."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    card = (ROOT / "rt_hands" / "weights" / "cpm_light.md").read_text(encoding="utf-8")
    (row,) = (line for line in readme.splitlines() if line.startswith("| ours, the default network |"))
    for figure in re.findall(r"\d+\.\d+", row):
        assert figure in card, f"{figure} is not in cpm_light.md: write the row anew from the card."


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_readme_quotes_the_report():
    """Every row beside MediaPipe stands in docs/REPORT.md, which one run wrote."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in (ROOT / "docs" / "REPORT.md").read_text().splitlines() if line.startswith("| ")]
    head = cells(next(row for row in rows if row.startswith("| clip | finder |")))
    known = {
        tuple(cells(row)[:2]): dict(zip(head, cells(row), strict=True))
        for row in rows
        if len(cells(row)) == len(head)
    }
    table = readme.split("<!-- report: begin -->")[1].split("<!-- report: end -->")[0]
    quoted = [cells(line) for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(quoted) >= 6
    for clip, finder, *figures, found in quoted:
        row = known[clip, finder]
        assert figures == [row[key] for key in ("fps", "p50 ms", "p95 ms", "cpu s")], f"{clip}, {finder}"
        assert float(found.removesuffix(" %")) == pytest.approx(float(row["found percent"]), abs=0.51)


def test_readme_keeps_the_marks_of_ci():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, word in (("live", "rt_hands.live"), ("tests", "pytest")):
        block = readme.split(f"<!-- ci: {name} -->")[1].split("```")[1]
        assert block.startswith("sh\n") and word in block
