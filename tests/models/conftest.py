"""No test of this folder may reach the network: what needs it gets a refusal at once, and says so."""

import socket

import pytest


@pytest.fixture
def no_network(monkeypatch):
    """Refuse every connection and name look-up; the list of what was asked for."""
    asked: list = []

    def refuse(*arguments, **_keywords):
        asked.append(arguments)
        raise OSError("the network is refused in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


@pytest.fixture
def torch_home(monkeypatch, tmp_path):
    """An empty cache of torch.hub; the folder where it looks for downloaded files."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch home"))
    folder = tmp_path / "torch home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder
