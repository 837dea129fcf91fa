"""Where the time of a compiled program goes: its operations, their seconds in a trace, its FLOPs and the peak."""
