//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"time"
)

// errBenchSystem: the benchmark reads CPU clocks that only Linux has.
var errBenchSystem = errors.New("bench needs Linux: it reads the CPU clocks of other processes; run it in a Linux machine or container")

func startPinned(*exec.Cmd, int) error { return errBenchSystem }

func cpuTime(int) (time.Duration, error) { return 0, errBenchSystem }

func machineTime() (time.Duration, error) { return 0, errBenchSystem }
