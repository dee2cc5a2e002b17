package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ostiary/ostiary/gateway"
)

// parseSize reads "4MiB", "256KiB", "1GiB", "512B" or a plain number of bytes.
func parseSize(s string) (int, error) {
	number, unit := s, 1
	for _, u := range []struct {
		suffix string
		bytes  int
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}} {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not a size; write 4MiB, 256KiB or a number of bytes above 0", s)
	}
	if n > math.MaxInt/unit {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return n * unit, nil
}

// parseRecord reads a size that a record has room for.
func parseRecord(s string) (int, error) {
	n, err := parseSize(s)
	if err == nil && n > gateway.MaxRecorded {
		return 0, fmt.Errorf("%q is too large; a record has room for %dKiB", s, gateway.MaxRecorded>>10)
	}
	return n, err
}

// minKeepAlive keeps comments on quiet streams from becoming a load.
const minKeepAlive = time.Second

func parseKeepAlive(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d < minKeepAlive {
		return 0, fmt.Errorf("%q is too short; write %s or more", s, minKeepAlive)
	}
	return d, err
}

// parseDuration reads a positive Go duration: "5m", "1h30m", "250ms".
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a duration; write 30s, 5m or 1h30m", s)
	}
	return d, nil
}

// parseCount reads a positive whole number.
func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not a whole number above 0", s)
	}
	return n, nil
}

// parseBool reads true or false.
func parseBool(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}

// sizeWords writes bytes for people.
func sizeWords(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
