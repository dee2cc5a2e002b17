package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// judge holds the records against what ran and what was told, and verifies the
// log against the checkpoints kept outside and the key.
func (s *site) judge(ctx context.Context) (string, error) {
	if _, err := os.Stat(filepath.Join(s.data, "audit")); err != nil {
		return strings.Join(s.words, "; "), nil // it never started
	}
	out, err := s.verb(ctx, "audit", "query", "--format", "json")
	if err != nil {
		return "", err
	}
	decided := map[string]bool{} // by the id in the arguments
	ended := map[string]string{} // outcome by decision
	awaited := map[string]string{}
	crashed := 0
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var r struct {
			Kind       string `json:"kind"`
			DecisionID string `json:"decision_id"`
			Outcome    string `json:"outcome"`
			Reason     string `json:"reason"`
			Decision   *struct {
				Allow bool `json:"allow"`
			} `json:"decision"`
			Arguments *struct {
				Value map[string]string `json:"value"`
			} `json:"arguments"`
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return "", fmt.Errorf("a record is not JSON: %w", err)
		}
		switch {
		case r.Kind == "decision" && r.Arguments != nil && r.Decision != nil && r.Decision.Allow:
			decided[r.Arguments.Value["id"]] = true
			awaited[r.DecisionID] = r.Arguments.Value["id"]
		case r.Kind == "outcome":
			ended[r.DecisionID] = r.Outcome
			if r.Reason == "crash" {
				crashed++
			}
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	for id, n := range s.upstream.hits {
		if !decided[id] {
			return "", fmt.Errorf("%s ran and has no decision record", id)
		}
		if n > 1 {
			return "", fmt.Errorf("%s ran %d times", id, n)
		}
	}
	for decision, id := range awaited {
		switch ended[decision] {
		case "":
			return "", fmt.Errorf("the decision about %s has no outcome", id)
		case "not_executed":
			if s.upstream.hits[id] > 0 {
				return "", fmt.Errorf("%s ran, and its record says that it did not", id)
			}
		}
	}
	if s.answered > len(s.upstream.hits) {
		return "", fmt.Errorf("%d calls were answered, %d ran", s.answered, len(s.upstream.hits))
	}
	key, err := s.verb(ctx, "audit", "key")
	if err != nil {
		return "", err
	}
	if _, err := s.verb(ctx, "audit", "verify", "--key", strings.TrimSpace(string(key)), "--checkpoint", s.outside()); err != nil {
		return "", err
	}
	return strings.Join(append(s.words, fmt.Sprintf("%d calls ran, each with its record; %d were refused, %d decisions reported after a crash", len(s.upstream.hits), s.refused, crashed)), "; "), nil
}
