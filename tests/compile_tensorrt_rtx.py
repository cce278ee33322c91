"""Has NVIDIA's own parser and compiler (TensorRT-RTX) take every packaged network, for RTX 20 to 50, on any machine.

It builds ahead of time, without a GPU, and can't run what it built: this shows that the networks are accepted, not
that they are right or fast. Run by .ci/run where tensorrt-rtx can be installed: python tests/compile_tensorrt_rtx.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rt_hands.errors import MissingPart
from rt_hands.inference.models import precision_of
from rt_hands.inference.tensorrt.build import build_plan
from rt_hands.inference.tensorrt.engine import choose_precision
from rt_hands.inference.tensorrt.trt_api import import_trt
from rt_hands.paths import weights_dir

CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0))
MAX_BATCH = 16


def main(models: list[Path]) -> int:
    """Compile each model for each kind of GPU; 0 when all were taken, or when there is nothing to do, said so."""
    try:
        trt = import_trt("tensorrt_rtx")
    except MissingPart as error:
        print(f"Skipped: {error}")
        return 0
    for model in models:
        default = choose_precision(model, "auto")
        for precision in sorted({default} if precision_of(model) == "int8" else {default, "float32"}):
            for capability in CAPABILITIES:
                if capability < (8, 0) and precision == "float32":
                    continue  # TensorRT-RTX 1.7: "FP32 GEMM is not supported" on Turing
                start = time.perf_counter()
                plan = build_plan(
                    trt, model.read_bytes(), model.name, precision, MAX_BATCH, capability=capability
                )
                seconds = time.perf_counter() - start
                name = f"{model.name} {precision} sm_{capability[0]}{capability[1]}"
                print(
                    f"{name}: {len(plan) / 1e6:.1f} MB in {seconds:.1f} s, {trt.__name__} {trt.__version__}",
                    flush=True,
                )
    if not models:
        print("Skipped: there are no packaged networks (rt_hands/weights/*.onnx).")
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(p) for p in sys.argv[1:]] or sorted(weights_dir().glob("*.onnx"))))
