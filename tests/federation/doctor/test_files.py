"""Modes of private files, and certificates on disk."""

from datetime import UTC, datetime, timedelta

import pytest

from federation import certificates
from federation.doctor.files import certificate, private
from federation.doctor.finding import Finding, found

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_closed_files_are_ok_and_files_that_are_not_there_are_not_looked_at(tmp_path):
    key = tmp_path / "key"
    key.touch(mode=0o600)
    finding = private("key-files", [key, tmp_path / "absent"])
    assert (finding.verdict, finding.what) == ("ok", "1 private files and folders are closed to other users")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_an_open_file_fails_with_the_command_that_closes_it(tmp_path, mode):
    key = tmp_path / "key"
    key.touch()
    key.chmod(mode)
    finding = private("key-files", [key])
    assert finding.verdict == "fail"
    assert f"mode {mode:04o}" in finding.what
    assert finding.next_step == f"chmod 600 {key}"


def test_an_open_folder_and_a_link_fail(tmp_path):
    folder = tmp_path / "packs"
    folder.mkdir()
    folder.chmod(0o755)
    assert private("packs", [folder]).next_step == f"chmod 700 {folder}"
    folder.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert "is a link" in private("packs", [link]).what


def test_many_faults_are_summed_up(tmp_path):
    for number in range(8):
        (tmp_path / str(number)).touch(mode=0o644)
        (tmp_path / str(number)).chmod(0o644)
    assert private("packs", sorted(tmp_path.iterdir())).what.endswith("and 3 more")


@pytest.mark.parametrize(("days", "verdict"), [(100, "ok"), (12, "warn"), (-3, "fail")])
def test_a_certificate_on_disk_is_measured_against_the_clock(tmp_path, days, verdict):
    made = certificates.create_authority("north", now=NOW - timedelta(days=50), days=50 + days)
    path = tmp_path / "ca.crt"
    path.write_bytes(made.certificate_pem)
    finding = certificate("authority", path, now=NOW, warn_days=30, remedy="renew it")
    assert finding.verdict == verdict
    assert (finding.next_step == "renew it") == (verdict != "ok")


def test_a_certificate_of_the_future_points_at_the_clock(tmp_path):
    path = tmp_path / "ca.crt"
    path.write_bytes(certificates.create_authority("north", now=NOW + timedelta(days=3)).certificate_pem)
    finding = certificate("authority", path, now=NOW, warn_days=30, remedy="renew it")
    assert (finding.verdict, finding.next_step) == ("fail", "set this machine's clock")


def test_a_missing_certificate_is_a_finding_not_an_exception(tmp_path):
    (finding,) = found(
        "authority",
        lambda: certificate("authority", tmp_path / "none", now=NOW, warn_days=30, remedy="renew it"),
    )
    assert (finding.name, finding.verdict) == ("authority", "fail")


def test_no_failure_without_a_next_step():
    with pytest.raises(ValueError, match="says no next step"):
        Finding("x", "fail", "broken")
