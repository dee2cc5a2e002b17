package audit

// Joiner puts decisions and their outcomes together: they are records of their
// own, with others between them. The zero value is ready.
type Joiner struct {
	held  map[string]*Record
	order []string // of their ids; those that were joined are still in it
}

// maxHeld bounds the decisions that wait for their outcome; the oldest is given
// up when it would be exceeded.
const maxHeld = 16 << 10

// Add takes the next record of the log. It calls emit for a decision whose
// outcome is known now, or won't come, and for any other record, with a nil
// outcome. An outcome whose decision was not added is dropped.
func (j *Joiner) Add(r *Record, emit func(r, outcome *Record) error) error {
	switch {
	case r.Kind == "outcome":
		d, ok := j.held[r.DecisionID]
		if !ok {
			return nil
		}
		delete(j.held, r.DecisionID)
		return emit(d, r)
	case r.Kind != "decision" || r.DecisionID == "" || r.Outcome != "":
		return emit(r, nil)
	}
	if j.held == nil {
		j.held = map[string]*Record{}
	}
	j.held[r.DecisionID] = r
	j.order = append(j.order, r.DecisionID)
	for len(j.held) > maxHeld {
		if err := j.giveUp(emit); err != nil {
			return err
		}
	}
	if len(j.order) > 2*maxHeld {
		kept := j.order[:0]
		for _, id := range j.order {
			if j.held[id] != nil {
				kept = append(kept, id)
			}
		}
		j.order = kept
	}
	return nil
}

// Flush emits what still waits: decisions without outcome.
func (j *Joiner) Flush(emit func(r, outcome *Record) error) error {
	for len(j.order) > 0 {
		if err := j.giveUp(emit); err != nil {
			return err
		}
	}
	return nil
}

func (j *Joiner) giveUp(emit func(r, outcome *Record) error) error {
	id := j.order[0]
	j.order = j.order[1:]
	d := j.held[id]
	if d == nil {
		return nil
	}
	delete(j.held, id)
	return emit(d, nil)
}
