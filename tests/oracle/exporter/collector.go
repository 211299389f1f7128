package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/awsxrayexporter"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// indexedAttributes is the exporter's setting indexed_attributes, for every input; the comparison sets its own
// translator to the same list.
var indexedAttributes = []string{"indexed.by_setting", "otel.resource.indexed.by_setting"}

// collector is the exporter with a PutTraceSegments endpoint of its own: its translator is not a public package,
// so its requests are read instead.
type collector struct {
	exporter exporter.Traces
	endpoint *httptest.Server

	mutex sync.Mutex
	taken []string
}

func startCollector() (*collector, error) {
	// The requests are signed, with credentials that are valid nowhere.
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"} {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	c := &collector{}
	c.endpoint = httptest.NewServer(http.HandlerFunc(c.putTraceSegments))

	factory := awsxrayexporter.NewFactory()
	config := factory.CreateDefaultConfig().(*awsxrayexporter.Config)
	config.Endpoint = c.endpoint.URL
	config.Region = "eu-west-1"
	config.NumberOfWorkers = 1
	config.MaxRetries = 0
	config.IndexedAttributes = indexedAttributes

	settings := exporter.Settings{
		ID:                component.NewID(factory.Type()),
		TelemetrySettings: componenttest.NewNopTelemetrySettings(),
	}
	var err error
	if c.exporter, err = factory.CreateTraces(context.Background(), settings, config); err != nil {
		return nil, err
	}
	return c, c.exporter.Start(context.Background(), componenttest.NewNopHost())
}

func (c *collector) stop() {
	_ = c.exporter.Shutdown(context.Background())
	c.endpoint.Close()
}

// documents returns the texts of the documents that the spans became, in the order they were sent. A span that the
// exporter refuses becomes none.
func (c *collector) documents(ctx context.Context, traces ptrace.Traces) ([]string, error) {
	if err := c.exporter.ConsumeTraces(ctx, traces); err != nil {
		return nil, err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	taken := c.taken
	c.taken = nil
	return taken, nil
}

func (c *collector) putTraceSegments(response http.ResponseWriter, request *http.Request) {
	var body struct{ TraceSegmentDocuments []string }
	text, err := io.ReadAll(request.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err != nil || request.URL.Path != "/TraceSegments" {
		http.Error(response, "not a PutTraceSegments request", http.StatusBadRequest)
		return
	}
	c.mutex.Lock()
	c.taken = append(c.taken, body.TraceSegmentDocuments...)
	c.mutex.Unlock()
	_, _ = io.WriteString(response, `{"UnprocessedTraceSegments":[]}`)
}
