package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// random stands for an id that the exporter drew by lot.
const random = "<random>"

// normalise parses a document and replaces the ids that differ from run to run: those of exceptions by their place
// in the list, and the id of a segment that the span itself does not have. Numbers keep the digits they came with.
func normalise(text string, known map[string]bool) (map[string]any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var document map[string]any
	if err := decoder.Decode(&document); err != nil {
		return nil, err
	}
	for _, field := range []string{"id", "parent_id"} {
		if id, ok := document[field].(string); ok && !known[id] {
			document[field] = random
		}
	}
	cause, _ := document["cause"].(map[string]any)
	exceptions, _ := cause["exceptions"].([]any)
	places := map[any]string{}
	for place, exception := range exceptions {
		places[exception.(map[string]any)["id"]] = fmt.Sprintf("<exception %d>", place)
	}
	for _, exception := range exceptions {
		for _, field := range []string{"id", "cause"} {
			fields := exception.(map[string]any)
			if place, ok := places[fields[field]]; ok {
				fields[field] = place
			}
		}
	}
	return document, nil
}

// spanIDs are the ids in the input, of spans and of their parents.
func spanIDs(traces ptrace.Traces) map[string]bool {
	ids := map[string]bool{}
	for i := range traces.ResourceSpans().Len() {
		scopes := traces.ResourceSpans().At(i).ScopeSpans()
		for j := range scopes.Len() {
			spans := scopes.At(j).Spans()
			for k := range spans.Len() {
				ids[spans.At(k).SpanID().String()] = true
				ids[spans.At(k).ParentSpanID().String()] = true
			}
		}
	}
	return ids
}
