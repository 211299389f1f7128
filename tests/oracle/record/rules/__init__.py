"""The hand-written inputs: at least one for each rule of what the collector's exporter does."""
