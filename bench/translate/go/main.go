// Command collector measures the translator of the OpenTelemetry Collector's X-Ray exporter, documents encoded, on
// one core. The package is internal to the exporter's module, so bench/translate/collector.sh builds this program
// inside a copy of that module.
//
//	collector [-rounds N] -version V FILE
//
// FILE is an ExportTraceServiceRequest in protobuf, as `bench-translate --write FILE` stores it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/awsxrayexporter/internal/translator"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

type row struct {
	Translator         string  `json:"translator"`
	Version            string  `json:"version"`
	Gomaxprocs         int     `json:"gomaxprocs"`
	Spans              int     `json:"spans"`
	Rounds             int     `json:"rounds"`
	DecodeSpansPerS    float64 `json:"decode_spans_per_s"`
	Seconds            float64 `json:"seconds"`
	SpansPerS          float64 `json:"spans_per_s"`
	AllocationsPerSpan float64 `json:"allocations_per_span"`
	BytesPerSpan       float64 `json:"bytes_per_span"`
	DocumentBytes      float64 `json:"document_bytes"`
}

func main() {
	rounds := flag.Int("rounds", 15, "how often to measure; the median is printed")
	version := flag.String("version", "", "the version of the exporter's module")
	flag.Parse()
	if flag.NArg() != 1 || *rounds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	result, err := measure(flag.Arg(0), *rounds)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	result.Version = *version
	text, err := json.Marshal(result)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(text))
}

func measure(path string, rounds int) (row, error) {
	encoded, err := os.ReadFile(path)
	if err != nil {
		return row{}, err
	}
	var decode, translate []float64
	var allocations, allocated float64
	var spans, bytes int
	// One round more than asked for: the first fills the exporter's pool of buffers.
	for round := range rounds + 1 {
		begin := time.Now()
		traces, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(encoded)
		if err != nil {
			return row{}, fmt.Errorf("%s: %w", path, err)
		}
		decoded := time.Since(begin).Seconds()

		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin = time.Now()
		documents, err := documentsOf(traces)
		took := time.Since(begin).Seconds()
		runtime.ReadMemStats(&after)
		if err != nil {
			return row{}, err
		}
		spans, bytes = traces.SpanCount(), 0
		if len(documents) != spans || spans == 0 {
			return row{}, fmt.Errorf("%d documents of %d spans", len(documents), spans)
		}
		for _, document := range documents {
			bytes += len(document)
		}
		if round == 0 {
			continue
		}
		decode, translate = append(decode, decoded), append(translate, took)
		allocations = float64(after.Mallocs - before.Mallocs)
		allocated = float64(after.TotalAlloc - before.TotalAlloc)
	}
	count := float64(spans)
	return row{
		Translator:         "awsxrayexporter",
		Gomaxprocs:         runtime.GOMAXPROCS(0),
		Spans:              spans,
		Rounds:             rounds,
		DecodeSpansPerS:    math.Round(count / median(decode)),
		Seconds:            median(translate),
		SpansPerS:          math.Round(count / median(translate)),
		AllocationsPerSpan: math.Round(allocations/count*10) / 10,
		BytesPerSpan:       math.Round(allocated / count),
		DocumentBytes:      math.Round(float64(bytes) / count),
	}, nil
}

// documentsOf is the exporter's own loop over a request, with its default settings.
func documentsOf(traces ptrace.Traces) ([]string, error) {
	documents := make([]string, 0, traces.SpanCount())
	var failed error
	for i := range traces.ResourceSpans().Len() {
		resourceSpans := traces.ResourceSpans().At(i)
		for j := range resourceSpans.ScopeSpans().Len() {
			spans := resourceSpans.ScopeSpans().At(j).Spans()
			for k := range spans.Len() {
				made, err := translator.MakeSegmentDocuments(spans.At(k), resourceSpans.Resource(), nil, false, nil, true)
				if err != nil {
					failed = errors.Join(failed, err)
					continue
				}
				documents = append(documents, made...)
			}
		}
	}
	return documents, failed
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
