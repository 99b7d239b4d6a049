import datetime

import pytest

from federation.config import (
    SHOTS_MAX_BY_TIER,
    FederationConfig,
    ShowConsent,
    StudioConfig,
    default_size_tiers,
    load_federation_config,
    load_studio_config,
)
from federation.config_text import federation_toml, studio_toml
from federation.errors import ConfigError

STUDIO = StudioConfig(name="northlight", federation="north")
FEDERATION = FederationConfig(name="north", hosts=("agg.example.org",))


def write(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_the_written_defaults_read_back_equal(tmp_path):
    assert load_studio_config(write(tmp_path, studio_toml(STUDIO))) == STUDIO
    assert load_federation_config(write(tmp_path, federation_toml(FEDERATION))) == FEDERATION


def test_every_setting_is_written_and_reads_back_when_it_is_not_the_default(tmp_path):
    studio = StudioConfig.from_fields(
        {
            "name": "northlight",
            "federation": "north",
            "policy": {
                "epsilon_lifetime": 3.5,
                "epsilon_per_round_max": 0.25,
                "noise_multiplier_min": 1.5,
                "steps_per_round_max": 7,
                "rounds_max": 9,
                "windows_per_shot_max": 3,
                "max_grad_norm_max": 2.5,
                "base_releases_allowed": [1, 4],
            },
            "shows": {
                "ABC.v2": {
                    "training_allowed": True,
                    "allowed_until": datetime.date(2027, 1, 31),
                    "allowed_by": 'A "quoted" name,\nüber \x7f two lines',
                },
                "closed": {},
            },
        }
    )
    assert load_studio_config(write(tmp_path, studio_toml(studio))) == studio
    federation = FederationConfig.from_fields(
        {
            "name": "north",
            "hosts": ["::1", "b"],
            "fleet_port": 1,
            "service_port": 2,
            "superlink_port": 3,
            "plan": {
                "rounds": 2,
                "quorum": 1,
                "deadline_s": 5,
                "steps_per_round": 6,
                "sample_rate": 0.5,
                "windows_per_shot": 4,
                "max_grad_norm": 0.3,
                "noise_multiplier": 0.9,
                "learning_rate": 0.7,
                "norm_max": 0.01,
                "grid": 2.0**-16,
            },
            "size_tiers": {
                "one.x": {"shots_max": 3, "weight": 1.0, "update_denominator": 0.5, "delta": 1e-6}
            },
        }
    )
    assert load_federation_config(write(tmp_path, federation_toml(federation))) == federation


@pytest.mark.parametrize(
    ("load", "line", "said", "hint"),
    [
        (
            load_studio_config,
            "policy.epsilom_lifetime = 8.0",
            "policy.epsilom_lifetime",
            "epsilon_lifetime",
        ),
        (
            load_studio_config,
            "[shows.x]\ntraining_alowed = true",
            "shows.x.training_alowed",
            "training_allowed",
        ),
        (load_federation_config, "plan.rouns = 1", "plan.rouns", "rounds"),
        (load_federation_config, "[size_tiers.q]\nshots = 1", "size_tiers.q", None),
    ],
)
def test_an_unknown_key_is_an_error_with_its_path(tmp_path, load, line, said, hint):
    head = 'name = "a"\nfederation = "b"' if load is load_studio_config else 'name = "a"\nhosts = ["h"]'
    with pytest.raises(ConfigError, match=said) as raised:
        load(write(tmp_path, f"{head}\n{line}\n"))
    assert raised.value.exit_code == 2
    if hint:
        assert raised.value.hint == f"did you mean {hint}?"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"policy": {"noise_multiplier_min": 0.5}}, "policy.noise_multiplier_min"),
        ({"policy": {"epsilon_lifetime": float("nan")}}, "policy.epsilon_lifetime"),
        ({"policy": {"epsilon_lifetime": float("inf")}}, "policy.epsilon_lifetime"),
        ({"policy": {"epsilon_lifetime": 0.0}}, "policy.epsilon_lifetime"),
        ({"policy": {"steps_per_round_max": 1.5}}, "policy.steps_per_round_max"),
        ({"policy": {"rounds_max": "9"}}, "policy.rounds_max"),
        ({"name": "North Light"}, "name"),
        ({"name": "../x"}, "name"),
        ({"shows": {"a/b": {}}}, "shows.a/b"),
        ({"shows": {"a": {"training_allowed": "yes"}}}, "shows.a.training_allowed"),
    ],
)
def test_a_value_out_of_range_names_its_key(change, said):
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        StudioConfig.from_fields({"name": "a", "federation": "b", **change})


@pytest.mark.parametrize(
    "change",
    [
        {"hosts": []},
        {"fleet_port": 0},
        {"fleet_port": 9444},
        {"plan": {"grid": 0.003}},
        {"plan": {"noise_multiplier": 0.0}},
        {"plan": {"sample_rate": 1.5}},
        {"size_tiers": {}},
        {"size_tiers": {"a": {"shots_max": 1, "weight": 1.0, "update_denominator": 1.0, "delta": 1e-3}}},
    ],
)
def test_contradicting_federation_settings_are_refused(change):
    with pytest.raises(ConfigError):
        FederationConfig.from_fields({"name": "a", "hosts": ["h"], **change})


@pytest.mark.parametrize("data", [b"name = ", b"\xff\xfe", b"x" * (1 << 20) + b"xx"])
def test_what_is_not_toml_is_said_with_the_file(tmp_path, data):
    path = tmp_path / "studio.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"studio\.toml"):
        load_studio_config(path)
    with pytest.raises(ConfigError, match="cannot read"):
        load_studio_config(tmp_path / "missing.toml")


def test_consent_is_off_unless_said_and_ends_after_its_last_day():
    last = datetime.date(2027, 1, 31)
    assert not ShowConsent().holds_on(last)
    assert ShowConsent(training_allowed=True).holds_on(last)
    bounded = ShowConsent(training_allowed=True, allowed_until=last)
    assert bounded.holds_on(last)
    assert not bounded.holds_on(last + datetime.timedelta(days=1))
    assert not ShowConsent(allowed_until=last).holds_on(last)


def test_size_tiers_weigh_by_inverse_noise_variance_up_to_the_cap():
    tiers = default_size_tiers(0.25)
    assert {name: tier.shots_max for name, tier in tiers.items()} == SHOTS_MAX_BY_TIER
    assert tiers["s"].weight == 1
    ratio = tiers["xs"].update_denominator / tiers["s"].update_denominator
    assert tiers["xs"].weight == pytest.approx(ratio**2)
    assert tiers["m"].weight == tiers["xl"].weight == 25
    assert tiers["l"].delta == 1e-5
    assert tiers["xl"].delta == pytest.approx(1e-6)
    assert tiers["s"].update_denominator == 25


def test_addresses_put_ipv6_in_brackets():
    config = FederationConfig(name="north", hosts=("::1", "other"))
    assert config.fleet_address == "[::1]:9443"
    assert FEDERATION.service_address == "agg.example.org:9444"
