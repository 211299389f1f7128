import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.util.concurrent.TimeUnit;

/** Sends spans with Java's exporters: Client.java http|grpc ENDPOINT NAME COUNT. */
public final class Client {
  public static void main(String[] arguments) {
    boolean isGrpc = arguments[0].equals("grpc");
    SpanExporter exporter =
        isGrpc
            ? OtlpGrpcSpanExporter.builder().setEndpoint(arguments[1]).setCompression("gzip").build()
            : OtlpHttpSpanExporter.builder()
                .setEndpoint(arguments[1] + "/v1/traces")
                .setCompression("gzip")
                .build();
    SdkTracerProvider provider =
        SdkTracerProvider.builder().addSpanProcessor(BatchSpanProcessor.builder(exporter).build()).build();
    for (int i = 0; i < Integer.parseInt(arguments[3]); i++) {
      provider.get("client").spanBuilder(arguments[2]).startSpan().end();
    }
    CompletableResultCode flushed = provider.forceFlush().join(30, TimeUnit.SECONDS);
    provider.shutdown().join(30, TimeUnit.SECONDS);
    System.exit(flushed.isSuccess() ? 0 : 1);
  }
}
