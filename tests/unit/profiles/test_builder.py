"""Profiles: what they may say, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from exitwave.profiles.builder import ProfileError, load_profile, profile_path
from exitwave.profiles.schema import ZonePlateModel


def _variant(tmp_path: Path, old: str, new: str) -> Path:
    text = profile_path("bl18b").read_text()
    assert old in text
    path = tmp_path / "variant.toml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_the_shipped_profile_has_every_part_of_the_beamline() -> None:
    profile = load_profile("bl18b")
    types = {device.type for device in profile.devices.values()}
    assert {
        "StorageRing",
        "Vacuum",
        "Shutter",
        "Mirror",
        "DoubleCrystalMonochromator",
        "Slits",
        "IonChamber",
        "Condenser",
        "BeamStop",
        "Pinhole",
        "SampleStage",
        "ZonePlate",
        "Camera",
        "HighResolutionDetector",
        "Telescope",
        "TransmissionXrayMicroscope",
    } <= types
    plate = profile.devices["zone_plate_a"]
    assert isinstance(plate, ZonePlateModel)
    assert (plate.diameter_um, plate.outermost_zone_nm) == (125.0, 25.0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("diameter_um = 125.0", "diametre_um = 125.0", ["zone_plate_a", "diametre_um", "unknown key"]),
        ("diameter_um = 125.0", "diameter_um = -125.0", ["zone_plate_a", "diameter_um", "-125"]),
        ("diameter_um = 125.0", "diameter_um = nan", ["diameter_um"]),
        ('mono = "dcm"', 'mono = "dmc"', ["ion_chamber_0", "dmc"]),
        ('type = "Foil"', 'type = "Foyle"', ["foil", "Foyle"]),
        ('ring = "ring"', 'ring = "rong"', ["ring", "rong"]),
        ('name = "bl18b"', "name = ", ["TOML"]),
    ],
)
def test_a_wrong_profile_is_refused_in_one_line(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(_variant(tmp_path, old, new))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(ProfileError, match="bl18b"):
        load_profile("bl19c")
