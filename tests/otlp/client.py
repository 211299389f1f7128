"""Sends spans with Python's exporters: client.py http|grpc ENDPOINT NAME COUNT."""

import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

protocol, endpoint, name, count = sys.argv[1:]
if protocol == "grpc":
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    spans = OTLPSpanExporter(endpoint=endpoint, insecure=True, compression=Compression.Gzip)
    metrics = OTLPMetricExporter(endpoint=endpoint, insecure=True)
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    spans = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", compression=Compression.Gzip)
    metrics = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics")

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(spans))
tracer = provider.get_tracer("client")
for _ in range(int(count)):
    tracer.start_span(name).end()
assert provider.force_flush()
provider.shutdown()

if name == "with-metrics":
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    meters = MeterProvider([PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)])
    meters.get_meter("client").create_counter("orders").add(7)
    assert meters.force_flush()
    meters.shutdown()
