"""The webcams of this machine, by number and name."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from rt_hands.errors import SourceError

SYSFS = Path("/sys/class/video4linux")


@dataclass(frozen=True, slots=True)
class Device:
    """One webcam: its number (N of /dev/videoN) and the name it gives itself."""

    index: int
    name: str

    def __str__(self) -> str:
        return f"{self.index} ({self.name})"


def list_devices(sysfs: Path = SYSFS) -> list[Device]:
    """Webcams with their names, by number. Linux only: elsewhere the list is empty and numbers must be tried."""
    found = []
    for folder in sysfs.glob("video*") if sysfs.is_dir() else ():
        number = folder.name.removeprefix("video")
        # A camera's second node carries metadata, no pictures; the kernel numbers the nodes of one camera from 0.
        if number.isdigit() and _read(folder / "index") in ("", "0"):
            found.append(Device(int(number), _read(folder / "name") or f"video{number}"))
    return sorted(found, key=lambda device: device.index)


def _read(path: Path) -> str:
    return path.read_text(errors="replace").strip() if path.is_file() else ""


def find_device(spec: str, sysfs: Path = SYSFS) -> Device | None:
    """The webcam that a number, /dev/videoN or (part of) a name means; None where the words mean no webcam at all.

    Raises SourceError where a number or device file names a webcam that isn't there, or a name fits several.
    """
    devices = list_devices(sysfs)
    number = spec.removeprefix("/dev/video")
    if number.isdigit():
        index = int(number)
        match = next((device for device in devices if device.index == index), None)
        if match is None and (devices or sys.platform == "linux"):
            raise SourceError(missing_device(spec, devices))
        return match or Device(index, f"camera {index}")
    named = [device for device in devices if spec.lower() in device.name.lower()]
    if len(named) > 1:
        raise SourceError(f"'{spec}' fits several cameras: {', '.join(map(str, named))}. Give the number.")
    return named[0] if named else None


def missing_device(spec: str, devices: list[Device]) -> str:
    """The sentence for a webcam that isn't there."""
    if not devices:
        return (
            f"No camera at {spec}: this machine has no webcam. Plug one in; live also takes a video file, or "
            "--source sample."
        )
    return f"No camera at {spec}. Found: {', '.join(map(str, devices))}. Try --source {devices[0].index}."


def why_not_open(device: Device, dev: Path = Path("/dev")) -> str:
    """The sentence for a webcam that is there but doesn't open."""
    node = dev / f"video{device.index}"
    if node.exists() and not os.access(node, os.R_OK | os.W_OK):
        return f"No permission to use camera {device} at {node}. Join the group that owns it (often 'video')."
    return f"Camera {device} can't be opened; another program is probably using it. Close that, or try another source."
