"""The codes that label frames, one file each; tlmd.label.config imports them all."""
