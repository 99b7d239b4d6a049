"""What a user sees of the command line: help, usage, and how errors end a command."""

import io
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from typer.main import get_command

from federation.cli.main import app

HEAVY = ("torch", "cv2", "flwr", "opacus", "numpy", "grpc", "OpenImageIO", "model_signing")


def commands(group=None, words=()):
    """Every command with the words that call it, hidden ones too."""
    for name, command in (group or get_command(app)).commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(commands())
SERVING = {
    ("studio", "run"),
    ("studio", "runner"),
    ("studio", "uplink"),
    ("coordinator", "serve"),
    ("coordinator", "part"),
}
every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def test_help_answers_in_a_blink():
    measured = "import resource; used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime)"
    code = f"import atexit; atexit.register(lambda: exec({measured!r})); from federation.cli.main import main; main()"
    seconds = []
    for _ in range(3):  # the least of three: a busy machine slows caches down, too
        result = subprocess.run(
            [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
        )
        assert "Federated, privacy-preserving training" in result.stdout
        seconds.append(float(result.stdout.split()[-1]))
    assert min(seconds) < 0.3


def test_no_help_imports_what_takes_seconds():
    lines = [list(words) for words in [(), *COMMANDS]]
    code = f"""
import contextlib, sys
from federation.cli.main import main
for words in {lines!r}:
    sys.argv = ["fedroto", *words, "--help"]
    with contextlib.suppress(SystemExit):
        main()
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert result.stdout.count("Usage: fedroto") == len(lines)


@every_command
def test_every_command_says_what_it_does_and_what_each_argument_is(words):
    command = COMMANDS[words]
    assert len(command.help) > 30
    assert command.help.endswith(".")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{parameter.name} of fedroto {' '.join(words)} has no help"


@every_command
def test_every_commands_example_is_a_command_line_that_is_understood(words, tmp_path, monkeypatch):
    for folder, sign in (("node", "studio.toml"), ("fed", "federation.toml")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / sign).touch()
    monkeypatch.chdir(tmp_path)
    example = COMMANDS[words].epilog.removeprefix("Example: ")
    program, *arguments = shlex.split(example)
    assert (program, *arguments[: len(words)]) == ("fedroto", *words)
    COMMANDS[words].make_context(" ".join(words), arguments[len(words) :])


@every_command
def test_every_command_has_json(words):
    (option,) = [one for one in COMMANDS[words].params if "--json" in one.opts]
    assert ("If it cannot go on" in option.help) == (words in SERVING)


def test_the_version_is_the_installed_one(fedroto):
    from importlib.metadata import version

    assert fedroto("--version").out == f"fedroto {version('fedroto')}\n"


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("predict", "missing argument 'PLATE'", "see: fedroto predict --help"),
        ("predict --colour red", "no such option '--colour'", "see: fedroto predict --help"),
        ("paint", "no such command 'paint'", "see: fedroto --help"),
        ("studio paint", "no such command 'paint'", "see: fedroto studio --help"),
        ("model pretrain out --steps many", "'many' is not a valid int", "see: fedroto model pretrain"),
        ("coordinator run --home fed --campaign c --set rounds", "'rounds' is not NAME=NUMBER", "see: "),
        ("coordinator run --home fed --campaign c --set rounds=few", "'rounds=few' is not NAME=NUMBER", ""),
        ("coordinator release --home fed", "give either --base or --campaign NAME", ""),
        ("coordinator part paint --home fed", "'paint' is none of superlink, fleet-proxy", ""),
        ("pull releases", "say where from", ""),
        ("pull releases --from r", "--from needs --release-key", "coordinator/release_key.pub"),
        ("predict p --shapes a.nk -o b.nk --release r --weights w", "either --release or --weights", ""),
        ("ledger show --home nowhere", "nowhere is no studio's home: it has no studio.toml", "studio init"),
        ("egress log --home nowhere", "nowhere is no studio's home", "studio init"),
        ("coordinator studios --home nowhere", "nowhere is no coordinator's home", "coordinator init"),
        ("coordinator studios --home node", "node is no coordinator's home", "coordinator init"),
    ],
)
def test_wrong_usage_says_what_is_wrong_and_where_to_read_on(refused, homes, line, said, hint):
    error = refused(*shlex.split(line), status=2)
    assert said in error["error"]
    assert hint in (error["hint"] or "")


def test_a_group_without_a_command_shows_its_help(fedroto):
    ended = fedroto("ledger")
    assert ended.status == 2
    assert "verify" in ended.out + ended.err


def test_an_interrupt_ends_with_130_and_no_traceback(refused, homes, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("studio_node.egress_log.read_log", interrupt)
    assert refused("egress", "log", "--home", "node", status=130)["error"] == "interrupted"


def test_a_bug_keeps_its_traceback(fedroto, homes, monkeypatch):
    monkeypatch.setattr("studio_node.egress_log.read_log", lambda home: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fedroto("egress", "log", "--home", "node")


def test_sigint_stops_a_command_that_takes_long(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "federation.cli",
            "plates",
            "make",
            tmp_path / "plates",
            "--count",
            "500",
            "--json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr.readline().startswith("shot001")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert json.loads(out)["error"] == "interrupted"
    assert "Traceback" not in err
    assert not [path for path in (tmp_path / "plates").iterdir() if path.name.startswith(".")]


def test_one_exit_status_for_each_kind_of_trouble(refused, homes, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"none")
    (tmp_path / "node" / "ledger.sqlite").write_bytes(b"not a ledger" * 100)
    kinds = {
        ("model", "evaluate", "weights.safetensors"): (1, "WeightsError"),
        ("pull", "releases", "--home", "nowhere"): (2, "ConfigError"),
        ("studio", "run", "--home", "node"): (3, "IdentityError"),
        ("coordinator", "run", "--home", "fed", "--campaign", "c"): (3, "ReleaseError"),
        ("ledger", "verify", "--home", "node"): (4, "LedgerError"),
    }
    for line, (status, kind) in kinds.items():
        assert refused(*line, status=status)["kind"] == kind


def test_a_request_that_nobody_compared_is_not_admitted_and_not_asked_about_without_a_terminal(
    refused, fedroto, homes, monkeypatch
):
    request = Path("node") / "alder.join-request"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    error = refused("coordinator", "admit", request, "--home", "fed", status=2)
    assert "nobody is here to say that it was compared" in error["error"]
    refused("coordinator", "admit", request, "--home", "fed", "--fingerprint", "SHA256:x", status=3)
    assert json.loads(fedroto("coordinator", "studios", "--home", "fed", "--json").out) == {"studios": []}
    assert not request.with_name("alder.kit").exists()
