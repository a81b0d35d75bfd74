"""Deployments as values: what is read, what is refused before anything is sent, and what travels."""

from __future__ import annotations

import copy
import pickle
import string
from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor.client.deployments import (
    CreatedDeploymentKey,
    Deployment,
    DeploymentKey,
    DeploymentTarget,
    changes_to_wire,
    checked_label,
)
from arkor.client.result import TrainingResult
from arkor.errors import ArkorError, ConfigError
from arkor.protocol.jobs import AdapterRef, TrainingJob

BODY: dict[str, Any] = {
    "id": "dep_1",
    "slug": "support",
    "orgId": "org_1",
    "projectId": "project_1",
    "target": {"kind": "adapter", "adapter": {"kind": "checkpoint", "jobId": "job_1", "step": 20}},
    "authMode": "fixed_api_key",
    "urlFormat": "openai_compat",
    "enabled": False,
    "customDomain": "models.example.com",
    "runRetentionMode": "days",
    "runRetentionDays": 7,
    "createdAt": "2026-01-01T00:00:00.000Z",
    "updatedAt": "2026-01-02T00:00:00.000Z",
}
KEY = {"id": "key_1", "label": "production", "prefix": "ark_", "enabled": False, "createdAt": "c", "lastUsedAt": "l"}
TARGET = AdapterRef("final", "job_1")


# What a backend sends


def test_a_deployment_is_read_field_by_field() -> None:
    """And goes back as it came."""
    one = Deployment.from_wire(BODY)
    assert (one.id, one.slug, one.org_id, one.project_id) == ("dep_1", "support", "org_1", "project_1")
    assert one.target == DeploymentTarget(kind="adapter", adapter=AdapterRef("checkpoint", "job_1", 20))
    assert (one.auth_mode, one.url_format, one.enabled) == ("fixed_api_key", "openai_compat", False)
    assert (one.custom_domain, one.run_retention_mode, one.run_retention_days) == ("models.example.com", "days", 7)
    assert (one.created_at, one.updated_at, one.extra) == (BODY["createdAt"], BODY["updatedAt"], {})
    assert one.to_wire() == BODY


@pytest.mark.parametrize(
    "change",
    [
        {"region": "eu", "limits": {"perMinute": 3}},
        {"authMode": "signed_url", "urlFormat": "native", "runRetentionMode": "forever"},
        {"target": {"kind": "router", "router": {"models": ["a", "b"]}}},
        {"target": {"kind": "adapter", "adapter": {"kind": "final", "jobId": "job_1", "revision": 3}}},
        {"target": {"kind": "base_model", "baseModel": "m", "quantized": True}},
    ],
    ids=range(5),
)
def test_what_this_version_does_not_know_is_kept(change: dict[str, Any]) -> None:
    """Unknown fields, at every depth, and unknown values of known ones."""
    body = {**BODY, **change}
    assert Deployment.from_wire(body).to_wire() == body


def test_absent_and_null_fields_have_their_defaults() -> None:
    """A backend may say no more than the id."""
    one = Deployment.from_wire({"id": "dep_1", "customDomain": None, "target": None})
    assert one == Deployment(id="dep_1")
    assert (one.enabled, one.custom_domain, one.run_retention_mode, one.run_retention_days) == (True, None, None, None)


def test_a_deployment_without_an_id_is_an_error() -> None:
    """It could not be asked for again."""
    with pytest.raises(ArkorError, match="a deployment without an id"):
        Deployment.from_wire({"slug": "support"})


def test_deployments_are_values() -> None:
    """Equal by content, hashable, and picklable."""
    one = Deployment.from_wire(BODY)
    assert len({one, Deployment.from_wire(copy.deepcopy(BODY))}) == 1
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_listed_key_never_shows_itself() -> None:
    """Should a backend send it by mistake, it is dropped, not kept among the unknown fields."""
    key = DeploymentKey.from_wire({**KEY, "plaintext": "secret", "scopes": ["chat"]})
    assert (key.id, key.label, key.prefix, key.enabled) == ("key_1", "production", "ark_", False)
    assert (key.created_at, key.last_used_at, key.extra) == ("c", "l", {"scopes": ["chat"]})
    assert "secret" not in repr(key)


def test_a_new_key_shows_itself_only_where_it_is_asked_for() -> None:
    """Not in a log of the value."""
    key = CreatedDeploymentKey.from_wire({**KEY, "plaintext": "secret"})
    assert (key.plaintext, key.label, key.extra) == ("secret", "production", {})
    assert "secret" not in f"{key} {key!r} {[key]}"


@pytest.mark.parametrize("plaintext", [{}, {"plaintext": None}, {"plaintext": ""}])
def test_a_new_key_that_is_not_shown_is_an_error(plaintext: dict[str, Any]) -> None:
    """Nobody could ever use it: the error names it, to be deleted."""
    with pytest.raises(ArkorError, match="key key_1, but did not show it"):
        CreatedDeploymentKey.from_wire({**KEY, **plaintext})


# What may be served

FINAL = {"kind": "adapter", "adapter": {"kind": "final", "jobId": "job_1"}}


@pytest.mark.parametrize(
    ("what", "travels"),
    [
        ("smollm2-135m", {"kind": "base_model", "baseModel": "smollm2-135m"}),
        (AdapterRef("final", "job_1"), FINAL),
        (TrainingResult(TrainingJob(id="job_1", status="completed")), FINAL),
        (DeploymentTarget(kind="adapter", adapter=TARGET), FINAL),
        (
            AdapterRef("checkpoint", "job_1", 20),
            {"kind": "adapter", "adapter": {"kind": "checkpoint", "jobId": "job_1", "step": 20}},
        ),
        (DeploymentTarget(kind="router", extra={"router": 1}), {"kind": "router", "router": 1}),
    ],
    ids=range(6),
)
def test_a_run_an_adapter_and_a_model_can_be_served(what: Any, travels: dict[str, Any]) -> None:
    """Named as the user has them at hand."""
    assert changes_to_wire({"target": what}) == {"target": travels}


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (None, "must be an adapter, a TrainingResult or a model's name, not None"),
        ({"kind": "base_model"}, "must be an adapter"),
        ("", "the name is empty"),
        (" ", "the name is empty"),
        (DeploymentTarget(kind="adapter"), "exactly one of an adapter and a model"),
        (DeploymentTarget(kind="base_model"), "exactly one of an adapter and a model"),
        (DeploymentTarget(kind="adapter", adapter=TARGET, base_model="m"), "exactly one of an adapter and a model"),
        (DeploymentTarget(kind="adapter", base_model="m"), "exactly one of an adapter and a model, as its kind says"),
        (DeploymentTarget(kind="base_model", adapter=TARGET), "exactly one of an adapter and a model, as its kind"),
        (AdapterRef("checkpoint", "job_1"), "must give the step of a checkpoint"),
        (AdapterRef("final", "job_1", 3), "none of the final adapter"),
        (TrainingResult(TrainingJob(id="job_1", status="failed")), "job_1 has no final adapter: its status is failed"),
    ],
    ids=range(12),
)
def test_what_cannot_be_served_is_refused_with_the_reason(what: Any, says: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=says) as raised:
        changes_to_wire({"target": what})
    assert raised.value.field == "target"


# What is checked

LETTERS = string.ascii_lowercase + string.digits


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,48}[a-z0-9]", fullmatch=True))
def test_a_slug_of_the_form_is_taken(slug: str) -> None:
    """As it is."""
    assert changes_to_wire({"slug": slug}) == {"slug": slug}


@given(st.text(alphabet=f"{LETTERS}-A_ .é\n", max_size=60))
def test_a_slug_is_taken_exactly_when_it_has_the_form(slug: str) -> None:
    """2 to 50 of a-z, 0-9 and dashes, none of them at an end."""
    good = 2 <= len(slug) <= 50 and set(slug) <= {*LETTERS, "-"} and slug[0] != "-" and slug[-1] != "-"
    try:
        changes_to_wire({"slug": slug})
    except ConfigError:
        assert not good
    else:
        assert good


@pytest.mark.parametrize("mode", [None, "unlimited", "disabled", "days"])
@pytest.mark.parametrize("days", [None, 1, 3650])
def test_days_go_with_their_mode_and_with_no_other(mode: str | None, days: int | None) -> None:
    """Both or neither."""
    settings = {"run_retention_mode": mode, "run_retention_days": days, "slug": "ab"}
    if (mode == "days") == (days is not None):
        wanted = {"runRetentionMode": mode, "runRetentionDays": days}
        assert changes_to_wire(settings) == {"slug": "ab", **{key: value for key, value in wanted.items() if value}}
    else:
        with pytest.raises(ConfigError, match="run_retention_mode='days'") as raised:
            changes_to_wire(settings)
        assert raised.value.field == "run_retention_days"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"run_retention_mode": "days", "run_retention_days": 0}, "run_retention_days: must be a whole number, 1 or"),
        ({"run_retention_mode": "days", "run_retention_days": 1.5}, "run_retention_days: must be a whole number"),
        ({"run_retention_mode": "days", "run_retention_days": True}, "run_retention_days: must be a whole number"),
        ({"run_retention_mode": "days", "run_retention_days": "7"}, "run_retention_days: must be a whole number"),
        ({"run_retention_mode": "weeks"}, "run_retention_mode: must be one of unlimited, disabled, days, not 'weeks'"),
        ({"auth_mode": "password"}, "auth_mode: must be none or fixed_api_key, not 'password'"),
        ({"auth_mode": None}, "auth_mode: must be none or fixed_api_key, not None"),
        ({"enabled": "no"}, "enabled: must be True or False, not 'no'"),
        ({"enabled": None}, "enabled: must be True or False, not None"),
        ({"slug": None}, "slug: must be 2 to 50"),
        ({"slug": "Support"}, "slug: must be 2 to 50 of a-z, 0-9 and -, a letter or digit at both ends, not 'Support'"),
        ({"custom_domain": ""}, "custom_domain: must be a domain, or None for none, not ''"),
        ({}, "changes: name at least one setting"),
        ({"run_retention_days": None}, "changes: name at least one setting"),
    ],
    ids=range(14),
)
def test_a_setting_out_of_its_range_is_named_with_the_reason(settings: dict[str, Any], says: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError) as raised:
        changes_to_wire(settings)
    assert str(raised.value).startswith(says)


def test_what_is_not_given_does_not_travel_and_null_does() -> None:
    """They mean different things: keep it, and take it away."""
    assert changes_to_wire({"enabled": False}) == {"enabled": False}
    assert changes_to_wire({"custom_domain": None}) == {"customDomain": None}


def test_a_setting_that_does_not_exist_is_refused_as_python_does() -> None:
    """A misspelt keyword is a TypeError."""
    with pytest.raises(TypeError, match="no setting authmode"):
        changes_to_wire({"authmode": "none"})


@pytest.mark.parametrize("label", ["a", "x" * 80, "Größe 😀"])
def test_a_label_of_1_to_80_characters_is_taken(label: str) -> None:
    """As it is."""
    assert checked_label(label) == label


@pytest.mark.parametrize("label", ["", " ", "x" * 81, None, 3])
def test_any_other_label_is_refused(label: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match="label: must be a text of 1 to 80 characters"):
        checked_label(label)
