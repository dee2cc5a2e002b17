//go:build race

package federation

// raceEnabled: times measured under the race detector say nothing.
const raceEnabled = true
