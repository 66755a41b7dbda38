"""File names from templates, beside the C library's own `snprintf`."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.simulators.records.file_names import full_file_name

C_SNPRINTF = ctypes.CDLL(None).snprintf
FLAGS = st.lists(st.sampled_from("-+ 0"), max_size=2).map("".join)
WIDTH = st.sampled_from(["", "1", "6", "12"])
PRECISION = st.sampled_from(["", ".1", ".4", ".6"])
PLAIN = st.sampled_from(["", "_", "a-b", "%%", ".h5"])
STRING = st.builds("%{}{}{}s".format, st.sampled_from(["", "-"]), WIDTH, PRECISION)
NUMBER = st.builds("%{}{}{}{}".format, FLAGS, WIDTH, PRECISION, st.sampled_from("diuxXo"))


def in_c(template: str, folder: str, name: str, number: int) -> str:
    buffer = ctypes.create_string_buffer(1024)
    arguments = [ctypes.c_char_p(folder.encode()), ctypes.c_char_p(name.encode()), ctypes.c_int(number)]
    C_SNPRINTF(buffer, ctypes.c_size_t(1024), template.encode(), *arguments)
    return buffer.value.decode()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("%s%s_%6.6d.h5", "/data/scan_000042.h5"),
        ("%s%s_%3.3d.h5", "/data/scan_042.h5"),
        ("%s%s.h5", "/data/scan.h5"),
        ("%sfixed.h5", "/data/fixed.h5"),
        ("/elsewhere/fixed.h5", "/elsewhere/fixed.h5"),
        ("%s%.2s%%%d", "/data/sc%42"),
    ],
)
def test_surplus_arguments_are_ignored(template: str, expected: str) -> None:
    assert full_file_name(template, "/data/", "scan", 42) == expected
    assert in_c(template, "/data/", "scan", 42) == expected


@given(st.lists(PLAIN, min_size=4, max_size=4), STRING, STRING, NUMBER, st.integers(0, 3), st.integers(-99, 2**31 - 1))
def test_as_in_c(plain: list[str], folder: str, name: str, number: str, conversions: int, value: int) -> None:
    used = [folder, name, number][:conversions]
    template = "x" + "".join(between + one for between, one in zip(plain, [*used, "", "", ""], strict=False))
    assert full_file_name(template, "/data/", "scan", value) == in_c(template, "/data/", "scan", value)


@pytest.mark.parametrize(
    "template", ["%s%s%s", "%d", "%s%d", "%s%s%d%d", "%s%s%f", "%s%s%*d", "%s%1$s", "%s%s%n", "%s%"]
)
def test_what_c_would_read_wrongly_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="%"):
        full_file_name(template, "/data/", "scan", 1)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        full_file_name("", "/data/", "scan", 1)
