"""python -m rt_hands.process SESSION: the offline pass over every frame of a session, smoothed both ways in time."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rt_hands.camera import Rig
from rt_hands.capture.offsets import read_offsets
from rt_hands.capture.source import Notice, to_stderr
from rt_hands.errors import InvalidInput, MissingPart, SourceError, check_not_recorded, run_command
from rt_hands.formats import HandsSample, export_hands, load_rig
from rt_hands.inference.cpm import Cpm
from rt_hands.inference.models import MODELS, find_model
from rt_hands.offline import Span, Work, fingerprint, finish_2d, finish_3d, settled_names
from rt_hands.offline_reading import BestReader, QuickReader, Reader, Readings
from rt_hands.paths import sample_dir, session_folder, weights_dir, write_atomically
from rt_hands.session import Session

ENDINGS: Final = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True)
class Options:
    """Find the hands in every frame of a session, and smooth them with the past and the future known.

    Writes hands.parquet: with a rig the hands in 3D, and beside it hands_2d.parquet of each camera; else 2D.
    hands.json beside it says how it was made and which gaps were filled; a filled hand has presence 0 (2D) or
    views 0 (3D). A pass that was cut off goes on where it was.
    """

    session: Annotated[Path, tyro.conf.Positional]
    """The session's folder, or `sample`, the bundled one."""
    out: Path | None = None
    """File to write, .parquet, .csv or .jsonl. Default: hands.parquet in the session; here for the bundled one."""
    model: str = "best"
    """best (quality for one camera where it is packaged, else the default one), light, int8, quality, or a path to an
    .onnx file."""
    quick: bool = False
    """Read each hand once, in the crop that its past gives, as live does: a fifth of the time. Else hands are
    followed forwards and backwards in time, then read anew, as they are and mirrored, where both say that they are."""
    engine: str = "auto"
    """auto, tensorrt, openvino or onnxruntime."""
    threads: int | None = None
    """Threads of the network; default: the engine's own choice."""
    rig: str | None = None
    """Calibration of the cameras. Default: the session's own rig.toml."""
    clock_offset_ms: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """How much later (+) or earlier (-) than its stamps say a camera's pictures were taken, ID=MS, such as cam_1=-97.
    Goes before the rig's own."""
    fill_ms: float = 200.0
    """Fill, and mark, absences up to so long; 0 fills none."""
    smooth: bool = True
    """Smooth both ways in time; --no-smooth gives what was measured."""
    again: bool = False
    """Replace a result that is already there."""


def main(argv: Sequence[str]) -> int:
    """Process one session."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.process", description=Options.__doc__
    )
    if not options.fill_ms >= 0:
        raise InvalidInput(f"--fill-ms is {options.fill_ms}; give 0 or more.")
    folder = session_folder(options.session)
    out = options.out or (Path() if folder == sample_dir() else folder) / "hands.parquet"
    _check_out(out, options.again)
    console = Console(stderr=True)
    given = load_rig(options.rig) if options.rig else None
    offset_ms, notice = read_offsets(options.clock_offset_ms), _once()
    with Session(folder, notice, given, offset_ms) as session:
        rig = _rig_of(session, given is not None, notice)
        _process(session, rig, out, options, notice, console)
    return 0


def _rig_of(session: Session, given: bool, notice: Notice) -> Rig | None:
    """The rig of the session's cameras. A single camera gives no depth: told, or InvalidInput for a --rig given."""
    if session.rig is None:
        return None
    rig = session.rig.subset(session.cameras)
    if len(rig) < 2 and not given:
        notice(f"{session.folder} has one camera: its rig.toml gives no 3D.")
        return None
    rig.check_depth()
    return rig


def best_model(console: Console, rig: Rig | None) -> Path:
    """The network that errs least, said in one line: told of the other views of a rig, the default one does."""
    if rig is not None:
        path = find_model()
        console.print(f"Network: {path.name}, the default one, which errs least with a rig.")
        return path
    if (weights_dir() / f"{MODELS['quality'].stem}.onnx").is_file():
        console.print("Network: quality, the larger one.")
        return find_model("quality")
    path = find_model()
    console.print(
        f"Network: {path.name}, the default one; a larger one, quality, is not in this installation."
    )
    return path


def _check_out(out: Path, again: bool) -> None:
    """Everything that would make hours of work end without a file."""
    if out.suffix.lower() not in ENDINGS:
        raise InvalidInput(f"Can't write '{out.name}'. Known endings: {', '.join(ENDINGS)}.")
    if out.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MissingPart("Parquet needs pyarrow: pip install 'rt_hands[export]'. Or give --out hands.csv.")
    for path in (out, out.with_stem(f"{out.stem}_2d"), out.with_suffix(".json")):
        check_not_recorded(path)
        if path.exists() and not again:
            raise SourceError(f"{path} is already there. Give --again to replace it, or another --out.")


def _once() -> Notice:
    """Every sentence once, though the session is read several times."""
    said: set[str] = set()

    def tell(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            to_stderr(sentence)

    return tell


def _process(
    session: Session, rig: Rig | None, out: Path, options: Options, notice: Notice, console: Console
) -> None:
    model = best_model(console, rig) if options.model == "best" else find_model(options.model)
    cpm = Cpm.load(str(model), options.engine, options.threads)
    try:
        cpm.warm_up((1, 2))
        engine = cpm.engine
        made_by = {"model": model.name, "engine": f"{engine.name} {engine.device} {engine.precision}"}
        made_by["reading"] = "quick" if options.quick else "both ways in time, mirrored"
        key = fingerprint(model, rig, session, f"{made_by['engine']} {made_by['reading']}")
        with Work(out.parent / f".{out.stem}.work", key, notice) as work:
            reader = (QuickReader if options.quick else BestReader)(cpm, rig, notice)
            readings = _read(work, session, reader, console)
            notes = {**made_by, "smooth": options.smooth, "fill_ms": options.fill_ms}
            _finish(readings, session, rig, out, options, notes, console)
            work.remove()
    finally:
        cpm.close()


def _read(work: Work, session: Session, reader: Reader, console: Console) -> Readings:
    """Every frame; a run that is cut off says what of it is kept."""
    try:
        with _progress(session, work, console) as advance:
            return work.run(session, reader, advance)
    except KeyboardInterrupt:
        kept = work.kept(len(session))
        console.print(
            f"Cut off. Kept: {kept}; the same command goes on from there."
            if kept
            else "Cut off before a first part was done: the same command begins anew.",
            soft_wrap=True,
        )
        raise


def _finish(
    readings: Readings,
    session: Session,
    rig: Rig | None,
    out: Path,
    options: Options,
    notes: dict[str, Any],
    console: Console,
) -> None:
    """Names, gaps, smoothing, files."""
    if rig is not None:
        readings = settled_names(readings, rig)
    hands, filled = finish_2d(readings, session.cameras, options.fill_ms, options.smooth)
    files = {out: hands}
    if rig is not None:
        hands_3d, filled_3d = finish_3d(readings, options.fill_ms, options.smooth)
        files = {out: hands_3d, out.with_stem(f"{out.stem}_2d"): hands}
        filled = [*filled_3d, *filled]
    _check_out(out, options.again)  # others may have written there in the meantime
    _write(files, filled, notes, console)


@contextmanager
def _progress(session: Session, work: Work, console: Console) -> Iterator[Callable[[float], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done = work.done(len(session))
    if kept := work.kept(len(session)):
        console.print(f"From an earlier run: {kept}.", soft_wrap=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(session.folder.name, total=len(session), completed=done)
        yield lambda sets: bar.advance(task, sets)


def _write(
    files: dict[Path, list[HandsSample]], filled: Sequence[Span], made_by: dict[str, Any], console: Console
) -> None:
    """The tables, then what is said of them."""
    from rt_hands import __version__

    for path, samples in files.items():
        export_hands(path, samples)
        seen = sum(sample.hands.present.any() for sample in samples)
        console.print(f"{path}: {len(samples)} samples, hands in {seen}.", soft_wrap=True)
    notes = {"rt_hands": __version__, **made_by, "filled": [asdict(span) for span in filled]}
    write_atomically(next(iter(files)).with_suffix(".json"), json.dumps(notes, indent=1).encode() + b"\n")
    console.print(f"{len(filled)} gaps filled and marked.")


if __name__ == "__main__":
    sys.exit(run_command(main))
