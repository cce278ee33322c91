"""Every calibration reader on damaged files: a rig or one sentence, never a crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_formats_rigs import FILES, easymocap, write

from rt_hands import InvalidInput, Rig
from rt_hands.formats import FORMATS, load_rig


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[int, int, bytes]]:
    """Edits (place, bytes removed, bytes put in) that keep most of a file whole."""
    pieces = st.one_of(
        st.binary(max_size=4),
        st.sampled_from(
            [b"nan", b"-1", b"1e400", b"[]", b"{}", b"null", b'"', b"\n", b"[[", b": ", b"9" * 400, b"&a *a"]
        ),
    )
    edit = st.tuples(st.integers(0, 1 << 16), st.sampled_from([0, 0, 1, 3, 20, 200]), pieces)
    return draw(st.lists(edit, min_size=1, max_size=4))


def damaged(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, added in edits:
        i = place % (len(content) + 1)
        content = content[:i] + added + content[i + removed :]
    return content


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, bytes]]:
    folder = tmp_path_factory.mktemp("pristine")
    easymocap(folder)
    files = {f: (p.name, p.read_bytes()) for f in FILES for p in [write(folder, f)]}
    return {
        **files,
        "easymocap": (
            "intri.yml",
            (folder / "intri.yml").read_bytes() + (folder / "extri.yml").read_bytes()[22:],
        ),
    }


@pytest.mark.parametrize("format", sorted(FORMATS))
@settings(
    max_examples=80,
    deadline=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(edits=damages(), cut=st.none() | st.integers(0, 1 << 16))
def test_damaged_files_give_a_rig_or_a_sentence(
    tmp_path: Path,
    pristine: dict[str, tuple[str, bytes]],
    format: str,
    edits: list[tuple[int, int, bytes]],
    cut: int | None,
) -> None:
    name, content = pristine[format]
    content = content[: cut % (len(content) + 1)] if cut is not None else damaged(content, edits)
    path = tmp_path / name
    path.write_bytes(content)
    try:
        loaded = load_rig(path)
    except InvalidInput as error:
        assert name in str(error) and str(error).endswith((".", ")"))
    else:
        assert isinstance(loaded, Rig) and all(np.isfinite(c.cam_from_world).all() for c in loaded)
