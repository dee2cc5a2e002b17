package federation

import (
	"bufio"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Limits of what a process may put into our log.
const (
	maxStderrLine  = 1 << 10 // bytes; the rest of a line is dropped
	maxStderrLines = 600     // a minute; the rest is counted
	minSecret      = 4       // bytes: anything shorter would mask half the log
)

// stderrLog takes what a process says on stderr into the gateway's log, at
// debug level, line by line, without the secrets that it was given.
type stderrLog struct {
	log  *slog.Logger
	now  func() time.Time
	mask *strings.Replacer

	window  time.Time
	lines   int
	dropped int
}

func newStderrLog(d *dialConfig, secrets []string) *stderrLog {
	var pairs []string
	for _, s := range secrets {
		if len(s) >= minSecret {
			pairs = append(pairs, s, "(secret)")
		}
	}
	return &stderrLog{
		log:  d.Logger.With(slog.String("upstream", d.Upstream.Name)),
		now:  d.Now,
		mask: strings.NewReplacer(pairs...),
	}
}

// read takes everything up to the end, whatever it does to the log: a full
// pipe would stop the process.
func (l *stderrLog) read(r io.Reader) {
	in := bufio.NewReaderSize(r, maxStderrLine)
	for {
		line, more, err := in.ReadLine()
		if err != nil {
			return
		}
		text := string(line)
		for more && err == nil {
			_, more, err = in.ReadLine()
		}
		l.put("upstream stderr", text)
	}
}

// put logs one line that came from the upstream. Control characters are
// escaped: they could forge lines or drive a terminal.
func (l *stderrLog) put(message, text string) {
	if now := l.now(); now.Sub(l.window) >= time.Minute {
		if l.dropped > 0 {
			l.log.Debug("upstream wrote more than is logged", slog.Int("dropped", l.dropped))
		}
		l.window, l.lines, l.dropped = now, 0, 0
	}
	if l.lines++; l.lines > maxStderrLines {
		l.dropped++
		return
	}
	l.log.Debug(message, slog.String("line", printable(l.mask.Replace(text))))
}

// printable replaces what is not text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}
