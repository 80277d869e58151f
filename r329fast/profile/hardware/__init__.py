"""Descriptions of target hardware, one TOML file each; `inherits` names another one."""

from r329fast.profile.hardware.describe import Figure, Hardware, available, load_hardware

__all__ = ["Figure", "Hardware", "available", "load_hardware"]
