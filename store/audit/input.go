package audit

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/ostiary/ostiary/policy"
)

// Input is what of a judged request's input document the other members of its
// record do not tell, so that the document can be made again.
type Input struct {
	Version  int              `json:"version"` // of the input document
	Listing  bool             `json:"listing,omitempty"`
	Time     string           `json:"time"` // of the decision, RFC 3339, in the zone of the policies
	Zone     string           `json:"zone"` // its name
	Counters map[string]int64 `json:"counters,omitempty"`
}

// InputOf is the Input of req's record; nil for a request that came to no
// policy, and so has no time.
func InputOf(req *policy.Request) *Input {
	if req.Time.RFC3339 == "" {
		return nil
	}
	return &Input{Version: req.Version, Listing: req.Listing, Time: req.Time.RFC3339, Zone: req.Time.Zone, Counters: req.Counters}
}

// unlessTold are the leaves of the input document that only Input tells.
// Records of earlier versions have none.
var unlessTold = []string{"counters", "time.hour", "time.rfc3339", "time.weekday", "time.zone"}

// Asked is Clear with what Input tells: the input document as it was judged,
// but for the leaves that are unknown.
func Asked(r *Record, o Opener) (doc policy.Request, unknown []string, err error) {
	doc, unknown, err = Clear(r, o)
	in := r.Input
	if in == nil {
		return doc, append(unknown, unlessTold...), err
	}
	doc.Version, doc.Listing, doc.Counters = in.Version, in.Listing, in.Counters
	at, bad := time.Parse(time.RFC3339, in.Time)
	if bad != nil {
		return doc, append(unknown, "time"), err
	}
	_, offset := at.Zone()
	doc.Time = policy.At(at.In(time.FixedZone(in.Zone, offset)))
	return doc, unknown, err
}

func appendInput(b []byte, in *Input) []byte {
	if in == nil {
		return b
	}
	b = append(b, `,"input":{"version":`...)
	b = strconv.AppendInt(b, int64(in.Version), 10)
	if in.Listing {
		b = append(b, `,"listing":true`...)
	}
	b = append(b, `,"time":`...)
	b = appendString(b, in.Time)
	b = append(b, `,"zone":`...)
	b = appendString(b, in.Zone)
	if len(in.Counters) > 0 {
		b = append(b, `,"counters":{`...)
		for i, name := range slices.Sorted(maps.Keys(in.Counters)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			b = strconv.AppendInt(b, in.Counters[name], 10)
		}
		b = append(b, '}')
	}
	return append(b, '}')
}
