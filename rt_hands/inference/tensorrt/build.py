"""ONNX to a TensorRT plan."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rt_hands.errors import InvalidInput
from rt_hands.inference.tensorrt.onnx_types import with_types
from rt_hands.inference.tensorrt.timing_cache import keep_timings, offer_timings
from rt_hands.inference.tensorrt.trt_api import is_rtx, is_typed, last_error, make_logger, member

Progress = Callable[[str, int, int], None]
"""Called with the phase, the steps done and all its steps; -1 done when the phase ends."""


def build_plan(
    trt: Any,
    model: bytes,
    name: str,
    precision: str,
    max_batch: int,
    *,
    capability: tuple[int, int] | None = None,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    verbose: bool = False,
    timings: Path | None = None,
) -> bytes:
    """Compile an ONNX file for batches of 1 .. max_batch.

    precision: float16, float32 or int8 (see `with_types`). capability: compile ahead of time for that kind of GPU
    (TensorRT-RTX only); None = the GPU that is here. verbose: print TensorRT's log, keep layer names in the plan.
    timings: the file of TensorRT's timing cache, read and written; TensorRT-RTX measures nothing, so it has no use.
    cancelled: once set, the build ends at its next step (from 10).
    Raises InvalidInput with the parser's or the compiler's own reason, or saying that it was cancelled.
    """
    cancelled = cancelled or threading.Event()
    if is_rtx(trt):
        timings = None
    logger = make_logger(trt, verbose)
    builder = trt.Builder(logger)
    network = _parse(trt, builder, logger, with_types(model, precision, name, is_typed(trt)), name)
    config = builder.create_builder_config()
    _add_profile(builder, config, network, max_batch)
    _configure(trt, config, precision, verbose)
    if capability is not None:
        _aim(trt, config, capability)
    _monitor(trt, config, progress, cancelled)
    if timings is not None:
        offer_timings(config, timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None and cancelled.is_set():
        raise InvalidInput(f"Building {name} was cancelled.")
    if plan is None:
        raise InvalidInput(_refusal(name, last_error(logger)))
    if timings is not None:
        keep_timings(config, timings)
    return bytes(plan)


def _parse(trt: Any, builder: Any, logger: Any, model: bytes, name: str) -> Any:
    flags = 0
    # EXPLICIT_BATCH is asked for only where types can't be strong: 8.6 wants it, later ones dropped it.
    wanted = "STRONGLY_TYPED" if is_typed(trt) else "EXPLICIT_BATCH"
    flag = member(trt, "NetworkDefinitionCreationFlag", wanted)
    if flag is not None:
        flags |= 1 << int(flag)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        said = [parser.get_error(i).desc() for i in range(parser.num_errors)] or [last_error(logger)]
        raise InvalidInput(f"TensorRT can't read {name}: {said[0]}")
    return network


def _add_profile(builder: Any, config: Any, network: Any, max_batch: int) -> None:
    """Batches of 1 .. max_batch, tuned for the largest: a rig runs it on every frame, and one crop is fast anyway."""
    profile = builder.create_optimization_profile()
    free = False
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = tuple(tensor.shape)
        if -1 not in shape:
            continue
        if shape[0] != -1 or -1 in shape[1:]:
            raise InvalidInput(f"Input '{tensor.name}' has shape {shape}; only its first axis may be free.")
        low, high = (1, *shape[1:]), (max_batch, *shape[1:])
        profile.set_shape(tensor.name, low, high, high)
        free = True
    if free:
        config.add_optimization_profile(profile)


def _configure(trt: Any, config: Any, precision: str, verbose: bool) -> None:
    tf32 = member(trt, "BuilderFlag", "TF32")
    if precision == "float32" and tf32 is not None:
        config.clear_flag(tf32)  # on by default: products with half's mantissa
    if hasattr(config, "max_aux_streams"):
        config.max_aux_streams = 0  # side streams cost scratch memory and gain nothing on small networks
    if not is_typed(trt):
        for name in {"float16": ("FP16",), "int8": ("INT8", "FP16")}.get(precision, ()):
            config.set_flag(member(trt, "BuilderFlag", name))
        # Only tactics inside TensorRT itself: the wheels bring neither cuBLAS nor cuDNN.
        own = [member(trt, "TacticSource", n) for n in ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")]
        config.set_tactic_sources(sum(1 << int(source) for source in own if source is not None))
    sharing = member(trt, "PreviewFeature", "PROFILE_SHARING_0806")
    if sharing is not None:
        config.set_preview_feature(sharing, True)  # several contexts on one profile; always on from 10
    detailed = member(trt, "ProfilingVerbosity", "DETAILED")
    if verbose and detailed is not None:
        config.profiling_verbosity = detailed


def _aim(trt: Any, config: Any, capability: tuple[int, int]) -> None:
    """Compile for a kind of GPU that need not be here."""
    target = member(trt, "ComputeCapability", f"SM{capability[0]}{capability[1]}")
    if target is None:
        known = [n for n in dir(getattr(trt, "ComputeCapability", None)) if n.startswith("SM")]
        raise InvalidInput(
            f"{trt.__name__} does not compile for sm_{capability[0]}{capability[1]} ahead of time. "
            f"It knows: {', '.join(known) or 'only the GPU that is here'}."
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(target, 0)


def _monitor(trt: Any, config: Any, progress: Progress | None, cancelled: threading.Event) -> None:
    """Have TensorRT report its phases and ask whether to go on, where it can (from 10)."""
    if not hasattr(trt, "IProgressMonitor"):
        return

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            self.show(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.show(phase_name, step + 1)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self.show(phase_name, -1)

        def show(self, phase_name: str, done: int) -> None:
            if progress is not None:
                progress(phase_name, done, self.steps.get(phase_name, 0))

    config.progress_monitor = Monitor()


def _refusal(name: str, reason: str) -> str:
    if "memory" in reason.lower():
        return f"The GPU ran out of memory while {name} was built ({reason}). Close other programs, lower --max-batch."
    return f"TensorRT can't build {name}: {reason}"


__all__ = ["Progress", "build_plan"]
