// Sends spans with Node.js's exporters: client.mjs http|proto|grpc ENDPOINT NAME COUNT.
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.NODE_CLIENT_MODULES}/`);
const { BasicTracerProvider, BatchSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const [protocol, endpoint, name, count] = process.argv.slice(2);
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${protocol}`);
const exporter = new OTLPTraceExporter({
  url: protocol === 'grpc' ? endpoint : `${endpoint}/v1/traces`,
  compression: 'gzip',
});
let failed;
const watched = {
  export: (spans, done) =>
    exporter.export(spans, (result) => {
      failed ??= result.code === 0 ? undefined : result.error ?? result;
      done(result);
    }),
  forceFlush: () => exporter.forceFlush(),
  shutdown: () => exporter.shutdown(),
};
const provider = new BasicTracerProvider({ spanProcessors: [new BatchSpanProcessor(watched)] });
for (let i = 0; i < Number(count); i++) provider.getTracer('client').startSpan(name).end();
await provider.forceFlush();
await provider.shutdown();
if (failed) throw failed;
