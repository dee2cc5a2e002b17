package wire

import (
	"fmt"
	"strings"
	"testing"
)

// callOf makes a modern tools/call of about size bytes, with arguments of the
// mixed kind that agents send.
func callOf(size int) []byte {
	const head = `{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{"name":"github__create_issue","arguments":{`
	const tail = `},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"agent","version":"1.0"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"progressToken":7}}}`
	var args strings.Builder
	for i := 0; len(head)+args.Len()+len(tail) < size; i++ {
		if i > 0 {
			args.WriteByte(',')
		}
		fmt.Fprintf(&args, `"field%d":{"title":"A title of some length, %d","labels":["bug","p1"],"count":%d,"ratio":0.25,"on":true}`, i, i, i)
	}
	return []byte(head + args.String() + tail)
}

func benchmarkParse(b *testing.B, size int) {
	raw := callOf(size)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw, DefaultLimits); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse1KiB(b *testing.B)  { benchmarkParse(b, 1<<10) }
func BenchmarkParse64KiB(b *testing.B) { benchmarkParse(b, 64<<10) }

// BenchmarkBombs measures the messages of many parts: each should stay under 50 ms of
// CPU on a quiet machine.
func BenchmarkBombs(b *testing.B) {
	for name, n := range map[string]int{"brackets": 100_000, "empty arrays": 1_000_000, "keys": 100_000, "keys in params": 100_000} {
		raw := []byte(bombs[name](n))
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Parse(raw, DefaultLimits)
			}
		})
	}
}
