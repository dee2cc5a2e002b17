package gateway

import (
	"context"
	"errors"
	"log/slog"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

// What agents and upstreams write stands in a record within bounds, or they
// could make requests that no log takes (audit.MaxRecord) and logs that grow by
// a megabyte a call.
const (
	// MaxRecorded is the most that Limits.Record may be: arguments and responses
	// both fit into one record, also when every character is escaped.
	MaxRecorded = 128 << 10

	recordedName        = 8 << 10 // bytes of a target's name: nothing with a longer one is listed
	recordedAnnotations = 4 << 10 // bytes; longer ones are named by the definition's digest
	recordedVisibility  = 16      // words
)

// recorded is a target as it stands in a record. Policy has seen all of it.
func recorded(t policy.Target) policy.Target {
	t.Name = shorten(t.Name, recordedName)
	if len(t.Annotations) > recordedAnnotations {
		t.Annotations = nil
	}
	visibility := t.Visibility[:min(len(t.Visibility), recordedVisibility)]
	for i, word := range visibility {
		if len(word) > recordedName/recordedVisibility {
			visibility = visibility[:i]
			break
		}
	}
	t.Visibility = visibility
	return t
}

// unwell logs that a record was not taken. That the log is unwell the log
// itself says, once; a line for each call refused meanwhile would flood what
// may well be the same full disk.
func (g *Gateway) unwell(what string, err error, id string) {
	level := slog.LevelError
	if errors.Is(err, audit.ErrUnavailable) {
		level = slog.LevelDebug
	}
	g.Logger.Log(context.Background(), level, what, "error", err, "decision_id", id)
}
