"""Settings of a sampler in words."""

from collections.abc import Mapping


def describe_settings(settings: Mapping[str, object]) -> str:
    """Settings in words, as `sampler heun, steps 20`."""
    return ", ".join(f"{name} {format_setting(value)}" for name, value in settings.items())


def format_setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
