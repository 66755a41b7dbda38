"""Settings that are put, and what is said when a server does not take one."""

from __future__ import annotations

from typing import Any

import pytest
from ophyd.sim import FakeEpicsSignal

from exitwave.devices import SettingError, signals
from exitwave.devices.signals import put_setting


class _Server(FakeEpicsSignal):
    """A record that clips what it is given, and counts how often."""

    def __init__(self, limit: float = 100.0) -> None:
        super().__init__("CAM:Gain", name="camera_gain")
        self.limit = limit
        self.puts: list[Any] = []
        self.sim_put(1.0)

    @property
    def setpoint_pvname(self) -> str:
        return "CAM:Gain"

    def get(self, *, use_monitor: bool | None = None, **kwargs: Any) -> Any:
        return super().get(**kwargs)

    def put(self, value: Any, *args: Any, **kwargs: Any) -> None:
        self.puts.append(value)
        super().put(min(value, self.limit), *args, **kwargs)


def test_a_setting_is_there_when_it_returns() -> None:
    server = _Server()
    put_setting(server, 7.0)
    assert server.get() == 7.0


def test_a_value_that_is_there_is_not_put_again_unless_it_starts_something() -> None:
    server = _Server()
    put_setting(server, 1.0)
    assert server.puts == []
    put_setting(server, 1.0, always=True)
    assert server.puts == [1.0]


def test_a_value_that_the_server_does_not_take_is_named_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_SETTING_S", 0.2)
    with pytest.raises(SettingError, match=r"^camera_gain: was to be 200\.0 and is 100\.0 .*CAM:Gain") as caught:
        put_setting(_Server(), 200.0)
    assert "\n" not in str(caught.value)
