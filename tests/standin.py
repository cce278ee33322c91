"""A stand-in for the trained CPM, and pictures it reads exactly: hands painted as squares that carry their own map.

Inside a painted hand green and blue say where in the hand a pixel lies (u, v in 0..1), red which hand it is. The ONNX
graph turns the colours into belief maps: Gaussians round the cells where a point's (u, v) is. In a mirrored picture,
told by the handedness of (u, v), the hands change places, as they do for a network that sees hands. So detector,
tracker and live loop have true answers without trained weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rt_hands.inference.cpm import JOINTS_SHAPE
from rt_hands.inference.engine import Engine, TensorSpec
from rt_hands.layout import FINGERS, HAND_POINT_NAMES, N_HAND, N_POINTS, hand_slice
from rt_hands.types import Hands2D

INPUT_PX, MAP_PX = 368, 45
SIGMA = 0.045
RED = (1.0, 0.5)
BACKGROUND_BGR = (70, 60, 0)


def _finger(f: int) -> tuple[np.ndarray, np.ndarray]:
    """Base and tip of a finger in the unit square, thumb on the left as on a right hand's back."""
    bases = [(0.36, 0.80), (0.33, 0.52), (0.47, 0.49), (0.60, 0.51), (0.72, 0.55)]
    tips = [(0.06, 0.48), (0.26, 0.08), (0.47, 0.04), (0.65, 0.08), (0.85, 0.20)]
    return np.array(bases[f]), np.array(tips[f])


def _template() -> np.ndarray:
    uv = np.zeros((N_HAND, 2))
    uv[0] = 0.5, 0.94
    for f, finger in enumerate(FINGERS):
        base, tip = _finger(f)
        for j in range(4):
            uv[1 + 4 * f + j] = base + (tip - base) * j / 3
        along = (tip - base) / np.linalg.norm(tip - base)
        across = np.array([-along[1], along[0]])
        for ring in range(2):
            middle = base + (tip - base) * (ring + 0.5) / 3
            corners = (-0.012 * along, -0.035 * across, 0.012 * along, 0.035 * across)
            first = 21 + 8 * f + 4 * ring
            uv[first : first + 4] = [middle + corner for corner in corners]
        assert HAND_POINT_NAMES[21 + 8 * f].startswith(finger)
    grid = [(0.38 + 0.13 * c, 0.86 - 0.09 * r) for r in range(4) for c in range(3)]
    uv[61:73] = grid
    uv[73:85] = np.array(grid) + 0.02
    return uv


TEMPLATE_UV = _template()


class PaintedHand:
    """A hand to paint: side 0 right, 1 left; centre and size of its square in px, turned by an angle."""

    def __init__(
        self, side: int, centre_px: tuple[float, float], size_px: float, turn_deg: float = 0.0
    ) -> None:
        self.side, self.centre, self.size = side, np.array(centre_px, float), size_px
        angle = np.deg2rad(turn_deg)
        self.rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def points_px(self) -> np.ndarray:
        """True points, (85, 2)."""
        local = TEMPLATE_UV - 0.5
        if self.side == 1:
            local = local * [-1, 1]
        return self.centre + self.size * local @ self.rotation.T

    def paint(self, image: np.ndarray) -> None:
        """Paint over what is there."""
        ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
        local = (np.stack([xs, ys], -1) - self.centre) @ self.rotation / self.size
        if self.side == 1:
            local = local * [-1, 1]
        inside = np.abs(local).max(-1) <= 0.5
        uv = local[inside] + 0.5
        image[inside] = np.round(
            255 * np.stack([_code(uv[:, 1]), _code(uv[:, 0]), np.full(len(uv), RED[self.side])], -1)
        )


class Listening:
    """An engine that can be told of joints, in front of one that can't; heard: what it was told, (B, 2, 21, 2)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self.inputs = (*engine.inputs, TensorSpec("joints", (None, *JOINTS_SHAPE), "float32"))
        self.outputs = engine.outputs
        self.heard: list[np.ndarray] = []
        self._joints: dict[int, np.ndarray] = {}

    def buffers(self, batch: int) -> tuple[np.ndarray, ...]:
        """As an engine."""
        joints = self._joints.setdefault(batch, np.zeros((batch, *JOINTS_SHAPE), np.float32))
        return (*self._engine.buffers(batch), joints)

    def run(self, image: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, ...]:
        """As an engine."""
        self.heard.append(joints.copy())
        return self._engine.run(image)


def _code(u: np.ndarray) -> np.ndarray:
    return 0.1 + 0.9 * u


def picture(*hands: PaintedHand, size_px: tuple[int, int] = (640, 480)) -> np.ndarray:
    """BGR picture of painted hands, later ones in front."""
    image = np.empty((size_px[1], size_px[0], 3), np.uint8)
    image[:] = BACKGROUND_BGR
    for hand in hands:
        hand.paint(image)
    return image


def truth(*hands: PaintedHand) -> np.ndarray:
    """(170, 2) true points, NaN for absent hands."""
    points = np.full((N_POINTS, 2), np.nan)
    for hand in hands:
        points[hand_slice(hand.side)] = hand.points_px()
    return points


def worst_px(found: Hands2D, *hands: PaintedHand) -> float:
    """Largest distance of a found point from its true place over the hands that should be there."""
    true = truth(*hands)
    there = np.isfinite(true[:, 0])
    return float(np.hypot(*(found.points_px[there, :2] - true[there]).T).max(initial=0))


def write_model(path: Path) -> Path:
    """Write the stand-in network as ONNX: `image` -> `belief_maps`, `presence`, batch free."""
    nodes = [
        helper.make_node("MatMul", ["rows", "image"], ["by_row"]),
        helper.make_node("MatMul", ["by_row", "columns"], ["sampled"]),
        helper.make_node("Split", ["sampled", "ones"], ["red", "green", "blue"], axis=1),
        helper.make_node("Sub", ["green", "offset"], ["u_scaled"]),
        helper.make_node("Sub", ["blue", "offset"], ["v_scaled"]),
        helper.make_node("Mul", ["u_scaled", "gain"], ["u"]),
        helper.make_node("Mul", ["v_scaled", "gain"], ["v"]),
        helper.make_node("Mul", ["u", "u"], ["uu"]),
        helper.make_node("Mul", ["v", "v"], ["vv"]),
        helper.make_node("Concat", ["uu", "vv", "u", "v"], ["features"], axis=1),
        helper.make_node("Conv", ["features", "weights", "bias"], ["log_belief"]),
        helper.make_node("Exp", ["log_belief"], ["belief"]),
    ]
    for side, name in enumerate(("right", "left")):
        nodes += _side_nodes(side, name)
    nodes += [
        *_mirror_nodes(),
        *_swap_nodes("maps", "points"),
        helper.make_node("ReduceMax", ["points"], ["strongest"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["one", "strongest"], ["background"]),
        helper.make_node("Concat", ["points", "background"], ["belief_maps"], axis=1),
        *_swap_nodes("presence", "presence"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["b", 3, INPUT_PX, INPUT_PX])
    maps = helper.make_tensor_value_info(
        "belief_maps", TensorProto.FLOAT, ["b", N_POINTS + 1, MAP_PX, MAP_PX]
    )
    presence = helper.make_tensor_value_info("presence", TensorProto.FLOAT, ["b", 2])
    graph = helper.make_graph(nodes, "standin", [image], [maps, presence], _constants())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _side_nodes(side: int, name: str) -> list[onnx.NodeProto]:
    """Belief maps of one hand: where the red says so; presence from their mean peak."""
    return [
        helper.make_node("Sub", ["red", f"red_{name}"], [f"off_{name}"]),
        helper.make_node("Abs", [f"off_{name}"], [f"apart_{name}"]),
        helper.make_node("Mul", [f"apart_{name}", "minus_slope"], [f"slope_{name}"]),
        helper.make_node("Add", [f"slope_{name}", "top"], [f"open_{name}"]),
        helper.make_node("Clip", [f"open_{name}", "zero", "one"], [f"mask_{name}"]),
        helper.make_node("Mul", ["belief", f"mask_{name}"], [f"maps_{name}"]),
        helper.make_node("ReduceMax", [f"maps_{name}"], [f"peaks_{name}"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", [f"peaks_{name}"], [f"mean_{name}"], axes=[1], keepdims=1),
        helper.make_node("Mul", [f"mean_{name}", "presence_gain"], [f"raised_{name}"]),
        helper.make_node("Clip", [f"raised_{name}", "zero", "one"], [f"presence_{name}"]),
    ]


def _mirror_nodes() -> list[onnx.NodeProto]:
    """`mirrored` (B, 1): 1 where (u, v) turns the other way round inside most hands' pixels than it was painted."""
    steps = [("u", "x"), ("u", "y"), ("v", "x"), ("v", "y")]
    return [
        *[helper.make_node("Conv", [a, f"step_{b}"], [f"{a}_{b}"], pads=[1, 1, 1, 1]) for a, b in steps],
        helper.make_node("Mul", ["u_x", "v_y"], ["straight"]),
        helper.make_node("Mul", ["u_y", "v_x"], ["crossed"]),
        helper.make_node("Sub", ["straight", "crossed"], ["area"]),
        helper.make_node("Sign", ["area"], ["turn"]),
        helper.make_node("Sub", ["mask_right", "mask_left"], ["painted_turn"]),
        helper.make_node("Mul", ["turn", "painted_turn"], ["agrees"]),
        helper.make_node("ReduceMean", ["agrees"], ["agreement"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Less", ["agreement", "zero"], ["is_mirrored"]),
    ]


def _swap_nodes(kind: str, out: str) -> list[onnx.NodeProto]:
    """Right then left along axis 1; left then right where the picture is mirrored."""
    right, left, shape = f"{kind}_right", f"{kind}_left", f"{kind}_shape"
    return [
        helper.make_node("Reshape", ["is_mirrored", shape], [f"{kind}_mirrored"]),
        helper.make_node("Concat", [right, left], [f"{kind}_painted"], axis=1),
        helper.make_node("Concat", [left, right], [f"{kind}_swapped"], axis=1),
        helper.make_node("Where", [f"{kind}_mirrored", f"{kind}_swapped", f"{kind}_painted"], [out]),
    ]


def _constants() -> list[onnx.TensorProto]:
    sampling = np.zeros((MAP_PX, INPUT_PX), np.float32)
    at = np.arange(MAP_PX) * INPUT_PX / MAP_PX
    low = np.floor(at).astype(int)
    sampling[np.arange(MAP_PX), low] = 1 - (at - low)
    sampling[np.arange(MAP_PX), low + 1] += at - low
    k = 1 / (2 * SIGMA**2)
    ones = np.ones(N_HAND)
    weights = np.stack([-k * ones, -k * ones, 2 * k * TEMPLATE_UV[:, 0], 2 * k * TEMPLATE_UV[:, 1]], 1)
    values = {
        "rows": sampling,
        "columns": np.ascontiguousarray(sampling.T),
        "weights": weights.reshape(N_HAND, 4, 1, 1),
        "bias": -k * (TEMPLATE_UV**2).sum(1),
        "offset": 0.1,
        "gain": 1 / 0.9,
        "zero": 0.0,
        "one": 1.0,
        "top": 1.25,
        "minus_slope": -25.0,
        "presence_gain": 1.3,
        "step_x": np.array([[0, 0, 0], [-1, 0, 1], [0, 0, 0]]).reshape(1, 1, 3, 3),
        "step_y": np.array([[0, -1, 0], [0, 0, 0], [0, 1, 0]]).reshape(1, 1, 3, 3),
        "red_right": RED[0],
        "red_left": RED[1],
    }
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in values.items()]
    shapes = {"ones": [1, 1, 1], "maps_shape": [-1, 1, 1, 1], "presence_shape": [-1, 1]}
    return [*tensors, *(numpy_helper.from_array(np.array(v, np.int64), name) for name, v in shapes.items())]
