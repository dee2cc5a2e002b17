package audit

import (
	"encoding/json"
	"net/netip"
	"strings"
)

// OCSFVersion is the version of the schema that OCSF writes
// (https://schema.ocsf.io/1.6.0).
const OCSFVersion = "1.6.0"

// Classes and values of OCSF 1.6.0.
const (
	ocsfAPIActivity    = 6003 // category 6, Application Activity
	ocsfAuthentication = 3002 // category 3, Identity & Access Management

	ocsfRead   = 2 // API Activity
	ocsfLogon  = 1 // Authentication
	ocsfLogoff = 2
	ocsfOther  = 99

	ocsfUnknown = 0
	ocsfSuccess = 1
	ocsfFailure = 2

	ocsfInformational = 1
	ocsfLow           = 2
)

// ocsfEvent is an event of either class.
type ocsfEvent struct {
	ActivityID   int             `json:"activity_id"`
	ActivityName string          `json:"activity_name"`
	CategoryUID  int             `json:"category_uid"`
	CategoryName string          `json:"category_name"`
	ClassUID     int             `json:"class_uid"`
	ClassName    string          `json:"class_name"`
	TypeUID      int             `json:"type_uid"`
	SeverityID   int             `json:"severity_id"`
	Time         int64           `json:"time"` // ms
	EndTime      int64           `json:"end_time,omitempty"`
	Duration     int64           `json:"duration,omitempty"` // ms
	StatusID     int             `json:"status_id"`
	Status       string          `json:"status"`
	StatusCode   string          `json:"status_code,omitempty"`
	StatusDetail string          `json:"status_detail,omitempty"`
	Message      string          `json:"message,omitempty"`
	Metadata     ocsfMetadata    `json:"metadata"`
	Actor        *ocsfActor      `json:"actor,omitempty"`
	User         *ocsfUser       `json:"user,omitempty"`    // Authentication
	Service      *ocsfNamed      `json:"service,omitempty"` // Authentication
	API          *ocsfAPI        `json:"api,omitempty"`     // API Activity
	Source       *ocsfEndpoint   `json:"src_endpoint,omitempty"`
	Resources    []ocsfResource  `json:"resources,omitempty"`
	Unmapped     json.RawMessage `json:"unmapped,omitempty"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	Product        ocsfProduct `json:"product"`
	UID            string      `json:"uid,omitempty"`
	CorrelationUID string      `json:"correlation_uid,omitempty"`
	EventCode      string      `json:"event_code,omitempty"`
	Sequence       uint64      `json:"sequence"`
	LogName        string      `json:"log_name"`
	OriginalTime   string      `json:"original_time"`
}

type ocsfProduct struct {
	Name   string `json:"name"`
	Vendor string `json:"vendor_name"`
}

type ocsfNamed struct {
	Name string `json:"name"`
}

type ocsfActor struct {
	User    *ocsfUser `json:"user,omitempty"`
	AppName string    `json:"app_name,omitempty"`
	AppUID  string    `json:"app_uid,omitempty"`
}

type ocsfUser struct {
	UID    string      `json:"uid,omitempty"`
	Name   string      `json:"name,omitempty"`
	Groups []ocsfNamed `json:"groups,omitempty"`
}

type ocsfAPI struct {
	Operation string        `json:"operation"`
	Service   *ocsfNamed    `json:"service,omitempty"`
	Version   string        `json:"version,omitempty"`
	Request   *ocsfRequest  `json:"request,omitempty"`
	Response  *ocsfResponse `json:"response,omitempty"`
}

type ocsfRequest struct {
	UID  string          `json:"uid"`
	Data json.RawMessage `json:"data,omitempty"`
}

type ocsfResponse struct {
	Code    int64  `json:"code,omitempty"`
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
}

type ocsfEndpoint struct {
	IP   string `json:"ip,omitempty"`
	Port int    `json:"port,omitempty"`
	Name string `json:"name,omitempty"`
}

type ocsfResource struct {
	Name   string   `json:"name"`
	Type   string   `json:"type,omitempty"`
	UID    string   `json:"uid,omitempty"`
	Labels []string `json:"labels,omitempty"`
}

// OCSF writes r, joined with its outcome unless that is nil, as one OCSF event:
// API Activity, or Authentication where r is about a sign-in. What OCSF has no
// word for stands under unmapped, under our names.
func OCSF(r, outcome *Record) ([]byte, error) {
	e := ocsfEvent{
		Time: r.Time.UnixMilli(), SeverityID: ocsfInformational,
		Metadata: ocsfMetadata{
			Version: OCSFVersion, Product: ocsfProduct{Name: "Ostiary", Vendor: "Ostiary"},
			UID: r.DecisionID, CorrelationUID: or(r.TraceID, r.RequestID), EventCode: r.Event, Sequence: r.Seq,
			LogName: "audit", OriginalTime: r.Time.UTC().Format("2006-01-02T15:04:05.999999999Z07:00"),
		},
		Source: ocsfSource(r),
	}
	end := r
	if outcome != nil {
		end = outcome
		e.EndTime = outcome.Time.UnixMilli()
		e.Duration = max(0, e.EndTime-e.Time)
	}
	if r.User.ID != "" || r.User.Name != "" {
		e.User = &ocsfUser{UID: r.User.ID, Name: r.User.Name}
		for _, g := range r.User.Groups {
			e.User.Groups = append(e.User.Groups, ocsfNamed{g})
		}
	}
	e.status(r, end)
	if strings.HasPrefix(r.Event, "session.") || strings.HasPrefix(r.Event, "signin.") {
		e.authentication(r)
	} else {
		e.activity(r, end)
	}
	e.TypeUID = 100*e.ClassUID + e.ActivityID
	var err error
	e.Unmapped, err = ocsfUnmapped(r, outcome)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(e)
	// As in our own lines: nothing in it may drive the terminal it is shown on.
	return appendRaw(nil, line), err
}

func (e *ocsfEvent) status(r, end *Record) {
	denied := r.Decision != nil && !r.Decision.Allow
	switch {
	case denied || strings.HasSuffix(r.Event, ".failed"):
		e.StatusID, e.Status, e.SeverityID = ocsfFailure, "Failure", ocsfLow
	case end.Outcome == "ok" || end.Outcome == "input_required" || r.Kind == "event" || r.Kind == "lifecycle" && end.Outcome == "" || r.Shown != nil:
		e.StatusID, e.Status = ocsfSuccess, "Success"
	case end.Outcome == "" || end.Outcome == "unknown":
		e.StatusID, e.Status = ocsfUnknown, "Unknown"
	default:
		e.StatusID, e.Status = ocsfFailure, "Failure"
	}
	e.StatusCode = end.Outcome
	e.StatusDetail = or(end.Reason, r.Reason)
	e.Message = or(end.Detail, r.Detail)
	if denied {
		e.StatusCode = "denied"
		e.StatusDetail = or(e.StatusDetail, strings.Join(r.Decision.Reasons, "; "))
	}
}

// authentication fills in class 3002.
func (e *ocsfEvent) authentication(r *Record) {
	e.CategoryUID, e.CategoryName = 3, "Identity & Access Management"
	e.ClassUID, e.ClassName = ocsfAuthentication, "Authentication"
	e.ActivityID, e.ActivityName = ocsfLogon, "Logon"
	if strings.HasPrefix(r.Event, "session.ended") {
		e.ActivityID, e.ActivityName = ocsfLogoff, "Logoff"
	}
	e.Service = &ocsfNamed{"Ostiary"}
	if e.User == nil { // required; nobody is known where a sign-in failed
		e.User = &ocsfUser{Name: "unknown"}
	}
}

// activity fills in class 6003. What a tool does to its upstream is not known:
// it is Other, under the method's name.
func (e *ocsfEvent) activity(r, end *Record) {
	e.CategoryUID, e.CategoryName = 6, "Application Activity"
	e.ClassUID, e.ClassName = ocsfAPIActivity, "API Activity"
	method := or(or(r.Request.Method, r.Event), r.Kind)
	e.ActivityID, e.ActivityName = ocsfOther, method
	if strings.HasSuffix(method, "/list") || strings.HasSuffix(method, "/read") || strings.HasSuffix(method, "/get") {
		e.ActivityID, e.ActivityName = ocsfRead, "Read"
	}
	e.Actor, e.User = &ocsfActor{User: e.User, AppName: or(r.Client.VerifiedName, r.Agent.Name), AppUID: r.Client.ID}, nil
	if *e.Actor == (ocsfActor{}) { // at least one is required
		e.Actor.AppName = "Ostiary"
	}
	e.API = &ocsfAPI{Operation: method, Version: r.Request.Era}
	if r.Upstream != "" {
		e.API.Service = &ocsfNamed{r.Upstream}
	}
	if id := or(r.RequestID, r.DecisionID); id != "" {
		e.API.Request = &ocsfRequest{UID: id}
		if r.Arguments != nil {
			e.API.Request.Data = r.Arguments.Value
		}
	}
	if end.Outcome != "" || end.Code != 0 {
		e.API.Response = &ocsfResponse{Code: end.Code, Message: end.Outcome}
		if e.StatusID == ocsfFailure {
			e.API.Response.Error = or(end.Reason, end.Outcome)
		}
	}
	if t := r.Target; t.Name != "" {
		e.Resources = []ocsfResource{{Name: t.Name, Type: t.Kind, UID: t.Digest, Labels: t.Labels}}
	}
}

// ocsfSource is required of API Activity and needs one name at least.
func ocsfSource(r *Record) *ocsfEndpoint {
	by := or(r.Source.IP, r.RequestedBy)
	if a, err := netip.ParseAddrPort(by); err == nil {
		return &ocsfEndpoint{IP: a.Addr().String(), Port: int(a.Port())}
	}
	if a, err := netip.ParseAddr(by); err == nil {
		return &ocsfEndpoint{IP: a.String()}
	}
	return &ocsfEndpoint{Name: or(by, "Ostiary")}
}

// ocsfUnmapped is the record without what the event says already.
func ocsfUnmapped(r, outcome *Record) (json.RawMessage, error) {
	rest := map[string]any{"kind": r.Kind}
	if r.Decision != nil {
		rest["decision"] = r.Decision
	}
	if r.Revisions != (Revisions{}) {
		rest["revisions"] = r.Revisions
	}
	if r.Shown != nil {
		rest["shown"] = r.Shown
	}
	if r.Failures != nil {
		rest["failures"] = r.Failures
	}
	if r.Arguments != nil {
		rest["arguments_size"] = r.Arguments.Size
		if r.Arguments.Keyed != "" {
			rest["arguments_hmac_sha256"] = r.Arguments.Keyed
		} else {
			rest["arguments_sha256"] = r.Arguments.Digest
		}
	}
	if outcome != nil {
		rest["outcome_seq"] = outcome.Seq
		if outcome.Result != nil {
			rest["result_sha256"], rest["result_size"] = outcome.Result.Digest, outcome.Result.Size
		}
		if outcome.Metrics != nil {
			rest["metrics"] = outcome.Metrics
		}
	}
	return json.Marshal(rest)
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
