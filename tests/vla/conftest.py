import pytest

from tests.fakes import FakeRobot


@pytest.fixture
def robots(monkeypatch):
    """Every robot that was built."""
    built = []
    begin = FakeRobot.__init__

    def remember(self, *arguments, **options):
        begin(self, *arguments, **options)
        built.append(self)

    monkeypatch.setattr(FakeRobot, "__init__", remember)
    return built
