"""The agent inside the function: records spans and hands them to the extension."""

VERSION = "0.1.0"
