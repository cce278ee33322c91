"""Where the time goes: median and 95th percentile of each stage, from frame to drawn hands.

    python demos/latency.py [source] [frames]

Peers, engines and percentiles beside one another: python -m rt_hands.bench live
"""

import sys
from itertools import islice

import numpy as np

from rt_hands.capture import open_source
from rt_hands.display.view import draw_result
from rt_hands.errors import SourceError, run_command, typed_number
from rt_hands.inference.cpm import Cpm
from rt_hands.pipeline import Pipeline

WARM_UP = 5


def main(argv):
    """Run through the frames, one after the other, and print the stages."""
    frames = int(typed_number(argv[1], "The number of frames")) if len(argv) > 1 else 120
    with open_source(argv[0] if argv else "sample") as source:
        cpm = Cpm.load()
        # The first runs of a network are slow; users never see them, so they are not counted either.
        cpm.warm_up((1, 2))
        pipeline = Pipeline(source, cpm)
        for result in islice(pipeline, frames):
            with pipeline.clock.stage("draw"):
                draw_result(result)
    stages = {name: pipeline.clock.durations_ms(name)[WARM_UP:] for name in pipeline.clock.percentiles_ms()}
    stages = {name: ms for name, ms in stages.items() if len(ms)}
    if not stages:
        raise SourceError(f"{source.name} has {WARM_UP} frames or fewer; give a longer one.")
    print(f"{cpm.engine.name} {cpm.engine.precision}, {len(stages['infer'])} frames, ms: p50, p95")
    for name, ms in stages.items():
        print(f"  {name:<10} {np.median(ms):8.2f} {np.percentile(ms, 95):8.2f}")
    print(f"  {pipeline.rate.fps:.1f} frames a second")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
