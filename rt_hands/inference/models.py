"""Names of the packaged networks, and where their ONNX files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.paths import weights_dir


@dataclass(frozen=True, slots=True)
class Model:
    """One packaged network: the stem of its ONNX file in `rt_hands/weights` and one line on when to use it."""

    stem: str
    use: str


MODELS: Final = {
    "light": Model("cpm_light", "the default: a CPM on a small trunk trained on hands, float32"),
    "int8": Model("cpm_light_int8", "the same network in 8 bits, for CPUs with VNNI"),
    "quality": Model("cpm_quality", "a larger network, for recordings"),
}
DEFAULT_MODEL: Final = "light"


def find_model(name: str = "default") -> Path:
    """Path of a network's ONNX file.

    name: `default`, a key of `MODELS`, the file's stem, or a path to any ONNX file with the CPM's inputs and outputs.
    Raises InvalidInput for an unknown name, MissingPart where the file isn't in the package.
    """
    if name.endswith(".onnx"):
        return _own_file(Path(name))
    key = DEFAULT_MODEL if name == "default" else name
    by_stem = {model.stem: model for model in MODELS.values()}
    model = MODELS.get(key) or by_stem.get(key)
    if model is None:
        raise InvalidInput(
            f"No model is called '{name}'. Known: {', '.join(MODELS)}, or a path to an .onnx file."
        )
    path = weights_dir() / f"{model.stem}.onnx"
    if not path.is_file():
        raise MissingPart(
            f"Model '{key}' is not in this installation ({path.name} is absent from rt_hands/weights). "
            f"Here: {_packaged() or 'none'}. Reinstall rt_hands, or pass --model with a path to an .onnx file."
        )
    return path


def _own_file(path: Path) -> Path:
    if not path.is_file():
        raise InvalidInput(f"There is no model file {path}. Known names: {', '.join(MODELS)}.")
    return path


def _packaged() -> str:
    return ", ".join(
        name for name, model in MODELS.items() if (weights_dir() / f"{model.stem}.onnx").is_file()
    )


def read_model(path: Path) -> bytes:
    """The bytes of an ONNX file; InvalidInput where it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"Can't read model {path}: {error.strerror}.") from None


def precision_of(path: Path) -> str:
    """`int8` where the file holds quantised layers, else `float32`; read from the bytes, so no onnx package."""
    return "int8" if b"uantizeLinear" in read_model(path) else "float32"
