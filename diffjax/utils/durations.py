"""Times in words."""


def format_duration(seconds: float) -> str:
    """The two largest units of a time, as `3 h 20 min`, `12 min 5 s` or `41 s`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
