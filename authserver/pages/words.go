package pages

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxName = 60  // characters of a client's name that are shown
	maxText = 200 // characters of any other foreign word
)

var zero time.Time

// Name makes a client's own name fit to be shown: no control or direction
// characters, one line, at most 60 characters. odd spells the name in ASCII
// when it holds anything else, so that a look-alike gives itself away; "" means
// that it is plain.
func Name(raw string) (shown, odd string) {
	shown = Text(raw, maxName)
	if shown == "" {
		return "a program without a name", ""
	}
	for _, r := range raw[:min(len(raw), 8*maxName)] {
		if r >= utf8.RuneSelf || r < ' ' {
			ascii := strconv.QuoteToASCII(shown)
			return shown, ascii[1 : len(ascii)-1]
		}
	}
	return shown, ""
}

// Text makes a foreign word fit to be shown: what does not print is left out,
// white space is one space, and after limit characters there is an ellipsis.
func Text(raw string, limit int) string {
	raw = strings.ToValidUTF8(raw[:min(len(raw), 8*limit)], "")
	raw = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1 // controls, bidi overrides, zero-width, private use
		}
		return r
	}, raw)
	raw = strings.Join(strings.Fields(raw), " ")
	if n := 0; utf8.RuneCountInString(raw) > limit {
		for i := range raw {
			if n == limit {
				return strings.TrimSpace(raw[:i]) + "…"
			}
			n++
		}
	}
	return raw
}

// Browser names a User-Agent in a few words; "" stays unknown.
func Browser(agent string) string {
	has := func(s string) bool { return strings.Contains(agent, s) }
	name := ""
	switch {
	case agent == "":
		return "Unknown browser"
	case has("Edg/"), has("EdgA/"), has("EdgiOS/"):
		name = "Edge"
	case has("OPR/"):
		name = "Opera"
	case has("Firefox/"), has("FxiOS/"):
		name = "Firefox"
	case has("Chrome/"), has("CriOS/"):
		name = "Chrome"
	case has("Safari/"):
		name = "Safari"
	default:
		first, _, _ := strings.Cut(agent, "/")
		return Text(first, 40)
	}
	for _, os := range [][2]string{{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"Mac OS X", "Mac"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"}} {
		if has(os[0]) {
			return name + " on " + os[1]
		}
	}
	return name
}

// ago says how long before now t was, in the largest unit that fits.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return count(int(d/time.Minute), "minute") + " ago"
	case d < 48*time.Hour:
		return count(int(d/time.Hour), "hour") + " ago"
	case d < 60*24*time.Hour:
		return count(int(d/(24*time.Hour)), "day") + " ago"
	}
	return "on " + day(t)
}

// Wait says how long to wait, in words.
func Wait(d time.Duration) string {
	if s := int((d + time.Second - 1) / time.Second); s < 120 {
		return count(max(s, 1), "second")
	}
	return count(int((d+time.Minute-1)/time.Minute), "minute")
}

func count(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

func day(t time.Time) string   { return t.UTC().Format("2 January 2006") }
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
