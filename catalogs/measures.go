package catalogs

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// whole is a positive whole number of at most most.
func (v value) whole(most int) (int, bool) {
	if !v.plain() {
		return 0, false
	}
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!int" {
		v.wants("a whole number", "write digits alone, without quotes")
		return 0, false
	}
	n, err := strconv.Atoi(v.node.Value)
	if err != nil || n < 1 || n > most {
		v.problem(fmt.Sprintf("must be between 1 and %d", most), "choose a number in that range, or drop the key for the default")
		return 0, false
	}
	return n, true
}

func (v value) duration() (time.Duration, bool) {
	s, ok := v.literal()
	if !ok {
		return 0, false
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		v.problem("has no unit", "say the unit, such as 30s, 2m or 500ms")
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		v.problem("is not a duration", "write a number and a unit, such as 30s, 2m or 500ms")
		return 0, false
	}
	if d <= 0 || d > MaxTimeout {
		v.problem("must be more than nothing and at most "+MaxTimeout.String(), "choose a time in that range, or drop the key for the default")
		return 0, false
	}
	return d, true
}

// size is a number of bytes, plain or in KiB, MiB or GiB.
func (v value) size() (int, bool) {
	s, ok := v.literal()
	if !ok {
		return 0, false
	}
	digits := strings.TrimRightFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	unit := map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[strings.TrimSpace(s[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || unit == 0 {
		v.problem("is not a size", "write a whole number of bytes, or one with KiB, MiB or GiB, such as 16MiB")
		return 0, false
	}
	// The first comparison keeps the product from overflowing.
	if n > MaxResponse || n*unit > MaxResponse || n*unit < MinResponse {
		v.problem("must be between 1KiB and 1GiB", "choose a size in that range, or drop the key for the default")
		return 0, false
	}
	return int(n * unit), true
}
