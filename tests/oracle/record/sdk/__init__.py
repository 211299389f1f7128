"""Recording what the instrumentations of real OpenTelemetry SDKs make of calls to stand-in servers."""
