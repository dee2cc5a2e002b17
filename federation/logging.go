package federation

import (
	"context"

	"github.com/ostiary/ostiary/gateway/wire"
)

// levels are the log levels of MCP (RFC 5424), most verbose first.
var levels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// severity orders log levels; one that we don't know is the most severe, so
// that it is delivered and never asked for.
func severity(level string) int {
	for i, l := range levels {
		if l == level {
			return i
		}
	}
	return len(levels)
}

// wantsLogs says whether the agent wants log messages. A legacy one that set no
// level gets what the upstream sends of its own accord (MCP 2025-11-25,
// Logging); a modern one that named none gets none.
func wantsLogs(c *Call) bool { return c.Agent.LogLevel != "" || c.Agent.Era == wire.Legacy }

// wantsLog says whether the agent wants the log message in params.
func wantsLog(c *Call, params wire.Object) bool {
	if c.Agent.LogLevel == "" {
		return wantsLogs(c)
	}
	level, _ := params.String("level")
	return severity(level) >= severity(c.Agent.LogLevel)
}

// leveler knows from which severity on a legacy session logs. The level is
// the session's, the wishes are the calls': the most verbose one wins, and
// each call gets what it asked for out of it.
type leveler struct {
	turn  chan struct{}
	level int
}

func newLeveler() *leveler { return &leveler{turn: make(chan struct{}, 1), level: len(levels)} }

// raise makes the session log as much as a call wants. An upstream that won't
// is one that logs less: it is not asked again.
func (l *leveler) raise(ctx context.Context, level string, set func(params []byte) *Failure) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return
	}
	if want := severity(level); want < l.level {
		if f := set([]byte(`{"level":"` + level + `"}`)); f == nil || f.Kind == errRefused {
			l.level = want
		}
	}
}
