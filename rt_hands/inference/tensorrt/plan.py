"""Plans on disk: what a built engine is bound to, written beside it and checked before TensorRT may read it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rt_hands.errors import InvalidInput
from rt_hands.paths import cache_dir, write_atomically

RECIPE: Final = 2
"""Raised with every change of `build` or `onnx_types` that makes another plan of the same file."""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """All that a plan depends on. tensorrt: module and exact version. capability: such as '9.0'. recipe: of `build`."""

    onnx_sha256: str
    tensorrt: str
    gpu: str
    capability: str
    precision: str
    max_batch: int
    recipe: int = RECIPE

    def difference(self, other: dict[str, Any]) -> str | None:
        """What of this key a sidecar contradicts, for a sentence; None where all agrees."""
        for name in self.differing(other):
            if name == "onnx_sha256":
                return "it was built from another ONNX file"
            return (
                f"it was built {_WORDS[name]} {other.get(name, 'unknown')}, wanted is {getattr(self, name)}"
            )
        return None

    def differing(self, other: dict[str, Any]) -> list[str]:
        """The fields that a sidecar contradicts."""
        return [name for name, mine in asdict(self).items() if other.get(name) != mine]


_WORDS = {
    "tensorrt": "by",
    "gpu": "for GPU",
    "capability": "for compute capability",
    "precision": "in",
    "max_batch": "for batches up to",
    "recipe": "by recipe",
}


def sha256(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def plan_path(model: Path, key: PlanKey) -> Path:
    """Where the plan of a model lies in the user's cache; different keys, different files."""
    digest = sha256(json.dumps(asdict(key), sort_keys=True).encode())[:16]
    return cache_dir() / "tensorrt" / f"{model.stem}-{key.precision}-{digest}.plan"


def save_plan(path: Path, key: PlanKey, plan: bytes) -> None:
    """Write a plan, then its sidecar: a crash between the two leaves a plan without one, which is never read."""
    sidecar = {**asdict(key), "plan_sha256": sha256(plan), "plan_bytes": len(plan)}
    write_atomically(path, plan)
    write_atomically(path.with_suffix(".json"), json.dumps(sidecar, indent=1).encode())


def load_plan(path: Path, key: PlanKey) -> tuple[bytes | None, str]:
    """The plan where its sidecar vouches for it, else None and why not, as a sentence."""
    if not path.is_file():
        return None, f"There is no plan for this model yet{_near_miss(path, key)}."
    try:
        sidecar = read_sidecar(path)
    except InvalidInput as error:
        return None, str(error)
    different = key.difference(sidecar)
    if different:
        return None, f"Plan {path.name} does not fit: {different}."
    plan = path.read_bytes()
    if len(plan) != sidecar.get("plan_bytes") or sha256(plan) != sidecar.get("plan_sha256"):
        return None, f"Plan {path.name} is damaged or cut short."
    return plan, "cached"


def read_sidecar(path: Path) -> dict[str, Any]:
    """The JSON beside a plan. Raises InvalidInput where it is missing or is no JSON table."""
    side = path.with_suffix(".json")
    try:
        content = json.loads(side.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(
            f"Plan {path.name} has no {side.name} beside it, so nothing says what it fits."
        ) from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InvalidInput(f"{side.name} beside the plan is not readable JSON.")
    return content


def discard(path: Path) -> None:
    """Remove a plan and its sidecar."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _near_miss(path: Path, key: PlanKey) -> str:
    """How the closest plan of the same model in the cache differs, so that a long rebuild explains itself."""
    found: list[tuple[int, str, dict[str, Any]]] = []
    for other in path.parent.glob(f"{path.stem.rsplit('-', 1)[0]}-*.plan"):
        try:
            sidecar = read_sidecar(other)
        except InvalidInput:
            continue
        found.append((len(key.differing(sidecar)), other.name, sidecar))
    if not found:
        return ""
    _, name, closest = min(found, key=lambda each: each[:2])
    return f" ({name} is there, but {key.difference(closest)})"


__all__ = ["PlanKey", "discard", "load_plan", "plan_path", "read_sidecar", "save_plan", "sha256"]
