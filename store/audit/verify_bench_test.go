package audit

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// BenchmarkVerify verifies a signed log of records as calls leave them, and says
// how long a million would take.
func BenchmarkVerify(b *testing.B) {
	const records = 100_000
	dir := b.TempDir()
	l := open(b, dir, Options{Signer: signer(b, dir), SegmentSize: 16 << 20, Notes: records + 1})
	for i := range records / 2 {
		r := sample()
		r.DecisionID = fmt.Sprint("d", i)
		l.Note(r)
		l.Note(&Record{Kind: "outcome", DecisionID: r.DecisionID, Outcome: "ok"})
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for b.Loop() {
		if rep, err := Verify(dir); err != nil || rep.Records != records {
			b.Fatal(rep, err)
		}
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/float64(b.N)/records*1e6/float64(time.Second), "cpu-s/million")
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/records*1e6/float64(time.Second), "s/million")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cpus")
}
