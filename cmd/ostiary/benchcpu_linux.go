package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// startPinned starts cmd on one CPU. A process inherits the CPUs of the thread
// that starts it, so this thread moves there for a moment.
func startPinned(cmd *exec.Cmd, place int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("asking for this process's CPUs: %w", err)
	}
	if all.Count() < 2 {
		return cmd.Start()
	}
	var one unix.CPUSet
	one.Set(nthCPU(&all, place))
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("moving to one CPU: %w", err)
	}
	err := cmd.Start()
	return errors.Join(err, unix.SchedSetaffinity(0, &all))
}

// nthCPU is the number of the nth CPU (from 0) in set.
func nthCPU(set *unix.CPUSet, n int) int {
	for cpu := 0; ; cpu++ {
		if !set.IsSet(cpu) {
			continue
		}
		if n == 0 {
			return cpu
		}
		n--
	}
}

// cpuTime is the CPU time of a process and its ended threads, in nanoseconds:
// clock_getcpuclockid(3) without the library.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// machineTime is the time that all CPUs were not idle, in ticks of 10 ms.
func machineTime() (time.Duration, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	var busy int64
	for i, field := range strings.Fields(line)[1:] {
		// user nice system idle iowait irq softirq steal; guest time is in user already
		if i == 3 || i == 4 || i > 7 {
			continue
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		busy += n
	}
	return time.Duration(busy) * 10 * time.Millisecond, nil
}
