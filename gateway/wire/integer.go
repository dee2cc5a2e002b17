package wire

import (
	"strconv"
	"strings"
)

// maxSafe is 2^53-1: "Integer values MUST be within the safe range".
const maxSafe = 1<<53 - 1

// safeInteger is the value of a JSON number that is an integer in the safe
// range, however it is written (42, 42.0, 4.2e1). It is exact: no rounding
// makes two different numbers equal.
func safeInteger(s string) (int64, bool) {
	if s == "" || len(s) > 1024 || !isNumber(s) {
		return 0, false
	}
	significand, negative := strings.CutPrefix(s, "-")
	exponent := 0
	if i := strings.IndexAny(significand, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(significand[i+1:]); err != nil {
			return 0, false
		}
		significand = significand[:i]
	}
	whole, fraction, _ := strings.Cut(significand, ".")
	all := strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(all, "0")
	// The value is trimmed * 10^zeros.
	zeros := exponent - len(fraction) + len(all) - len(trimmed)
	switch {
	case trimmed == "":
		return 0, true
	case zeros < 0 || zeros > 16 || len(trimmed) > 16:
		return 0, false
	}
	n, err := strconv.ParseInt(trimmed+strings.Repeat("0", zeros), 10, 64)
	if err != nil || n > maxSafe {
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}

// isNumber reports whether s is a JSON number.
func isNumber(s string) bool {
	return (s[0] == '-' || '0' <= s[0] && s[0] <= '9') && Check([]byte(s), Limits{Digits: len(s), Exponent: 1 << 20}) == nil
}
