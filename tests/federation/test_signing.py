import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from federation import keys
from federation.errors import IdentityError, ReleaseError
from federation.signing import sign_folder, verify_folder


@pytest.fixture
def signed(tmp_path):
    """A signed folder, its private key's path and its public key."""
    key = keys.create_release_key(tmp_path / "keys")
    folder = tmp_path / "0001"
    folder.mkdir()
    for name in ("weights.safetensors", "README.md", "manifest.json", "benchmark.json"):
        (folder / name).write_text(f"content of {name}")
    sign_folder(folder, tmp_path / "keys" / "release_key")
    return folder, tmp_path / "keys" / "release_key", keys.public_pem(key.public_key())


def official(folder, public_pem, tmp_path):
    """Run the official command line on a folder."""
    (tmp_path / "release_key.pub").write_bytes(public_pem)
    command = [
        sys.executable,
        "-m",
        "model_signing",
        "verify",
        "key",
        folder,
        "--signature",
        folder / "model.sig",
    ]
    command += ["--public_key", tmp_path / "release_key.pub"]
    # A folder of its own, so that nothing lying about is imported in place of a module.
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)


def test_the_official_command_accepts_our_signature_and_refuses_a_changed_copy(signed, tmp_path):
    folder, _, public = signed
    accepted = official(folder, public, tmp_path)
    assert accepted.returncode == 0, accepted.stderr
    assert "succeeded" in accepted.stdout + accepted.stderr
    (folder / "README.md").write_text("changed")
    refused = official(folder, public, tmp_path)
    assert refused.returncode != 0
    assert "README.md" in refused.stdout + refused.stderr


def test_the_official_command_refuses_another_key(signed, tmp_path):
    other = keys.create_release_key(tmp_path / "other")
    assert official(signed[0], keys.public_pem(other.public_key()), tmp_path).returncode != 0


def test_relative_paths_work_like_absolute_ones(signed, tmp_path, monkeypatch):
    folder, private, public = signed
    monkeypatch.chdir(folder.parent)
    verify_folder(Path(folder.name), public)
    (folder / "model.sig").unlink()
    sign_folder(Path(folder.name), private)
    verify_folder(folder, public)
    monkeypatch.chdir(folder)
    verify_folder(Path(), public)


def test_a_copy_under_another_name_holds(signed, tmp_path):
    folder, _, public = signed
    folder.rename(tmp_path / "copied")
    verify_folder(tmp_path / "copied", public)


@pytest.mark.parametrize("name", ["weights.safetensors", "README.md", "manifest.json", "benchmark.json"])
def test_a_changed_file_is_named(signed, name):
    folder, _, public = signed
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(ReleaseError, match=f"{name} was changed") as raised:
        verify_folder(folder, public)
    assert "Digest(" not in str(raised.value)


@pytest.mark.parametrize("name", ["extra", ".gitattributes", ".gitignore"])
def test_an_added_file_is_refused(signed, name):
    folder, _, public = signed
    (folder / name).write_text("")
    with pytest.raises(ReleaseError, match=f"Extra files .*{name}"):
        verify_folder(folder, public)


def test_a_file_taken_away_is_refused(signed):
    folder, _, public = signed
    (folder / "README.md").unlink()
    with pytest.raises(ReleaseError, match=r"README\.md"):
        verify_folder(folder, public)


def test_two_files_exchanged_are_refused(signed):
    folder, _, public = signed
    (folder / "README.md").rename(folder / "x")
    (folder / "manifest.json").rename(folder / "README.md")
    (folder / "x").rename(folder / "manifest.json")
    with pytest.raises(ReleaseError, match="was changed"):
        verify_folder(folder, public)


def test_a_link_to_a_good_file_is_refused(signed, tmp_path):
    folder, _, public = signed
    (folder / "README.md").rename(tmp_path / "elsewhere")
    (folder / "README.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReleaseError):
        verify_folder(folder, public)


def test_another_key_is_refused(signed, tmp_path):
    other = keys.create_release_key(tmp_path / "other")
    with pytest.raises(ReleaseError):
        verify_folder(signed[0], keys.public_pem(other.public_key()))


def test_a_signature_made_by_another_key_that_claims_ours_is_refused(signed, tmp_path):
    folder, _, public = signed
    ours = json.loads((folder / "model.sig").read_text())
    keys.create_release_key(tmp_path / "other")
    (folder / "model.sig").unlink()
    sign_folder(folder, tmp_path / "other" / "release_key")
    theirs = json.loads((folder / "model.sig").read_text())
    theirs["verificationMaterial"] = ours["verificationMaterial"]
    (folder / "model.sig").write_text(json.dumps(theirs))
    with pytest.raises(ReleaseError, match=r"signature of .* does not hold"):
        verify_folder(folder, public)


@pytest.mark.parametrize("signature", [None, b"", b"{}", b"\xff\xfe", b"[" * 20_000, b'{"mediaType": 3}'])
def test_a_missing_or_damaged_signature_is_refused(signed, signature):
    folder, _, public = signed
    (folder / "model.sig").unlink()
    if signature is not None:
        (folder / "model.sig").write_bytes(signature)
    with pytest.raises(ReleaseError):
        verify_folder(folder, public)


def test_a_signature_of_another_folder_is_refused(signed, tmp_path):
    folder, private, public = signed
    other = tmp_path / "0002"
    other.mkdir()
    (other / "README.md").write_text("another release")
    sign_folder(other, private)
    (folder / "model.sig").write_bytes((other / "model.sig").read_bytes())
    with pytest.raises(ReleaseError, match="not what was signed"):
        verify_folder(folder, public)


def test_a_key_that_others_can_read_does_not_sign(signed):
    folder, private, _ = signed
    private.chmod(0o644)
    with pytest.raises(IdentityError, match="mode 0644"):
        sign_folder(folder, private)


def test_the_signature_names_no_path_of_this_machine(signed, tmp_path):
    bundle = json.loads((signed[0] / "model.sig").read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    assert str(tmp_path).encode() not in payload
    assert json.loads(payload)["subject"][0]["name"] == "0001"


def test_checking_costs_less_than_two_cpu_seconds_and_the_package_is_imported_only_then(signed, tmp_path):
    folder, _, public = signed
    (tmp_path / "key.pub").write_bytes(public)
    program = (
        "import sys, time; from pathlib import Path; import federation.signing as s;"
        "assert 'model_signing' not in sys.modules; t = time.process_time();"
        "s.verify_folder(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()); print(time.process_time() - t)"
    )
    command = [sys.executable, "-c", program, folder, tmp_path / "key.pub"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2
