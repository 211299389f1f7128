// Command exporter records what the OpenTelemetry Collector's X-Ray exporter makes of OTLP requests.
//
//	exporter INPUTS EXPECTED
//
// reads every *.json below INPUTS, one ExportTraceServiceRequest each, and writes beside the same relative path
// below EXPECTED the array of documents that the exporter puts into its PutTraceSegments requests.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

const exporterModule = "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/awsxrayexporter"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: exporter INPUTS EXPECTED")
		os.Exit(2)
	}
	if err := record(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func record(inputs, expected string) error {
	collector, err := startCollector()
	if err != nil {
		return fmt.Errorf("the exporter does not start: %w", err)
	}
	defer collector.stop()

	count := 0
	err = filepath.WalkDir(inputs, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		documents, err := translateFile(collector, path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		relative, err := filepath.Rel(inputs, path)
		if err != nil {
			return err
		}
		count++
		return writeJSON(filepath.Join(expected, relative), documents)
	})
	if err != nil {
		return err
	}
	version, err := exporterVersion()
	if err != nil {
		return err
	}
	fmt.Printf("%d inputs, exporter %s\n", count, version)
	return os.WriteFile(filepath.Join(expected, "VERSION"), []byte("awsxrayexporter "+version+"\n"), 0o644)
}

func translateFile(collector *collector, path string) ([]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(text)
	if err != nil {
		return nil, err
	}
	known := spanIDs(traces)
	texts, err := collector.documents(context.Background(), traces)
	if err != nil {
		return nil, err
	}
	documents := []any{}
	for _, text := range texts {
		document, err := normalise(text, known)
		if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	return documents, nil
}

func writeJSON(path string, value any) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(value); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

func exporterVersion() (string, error) {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "", fmt.Errorf("the program was built without module information")
	}
	for _, module := range build.Deps {
		if module.Path == exporterModule {
			return module.Version, nil
		}
	}
	return "", fmt.Errorf("%s is not among the program's modules", exporterModule)
}
