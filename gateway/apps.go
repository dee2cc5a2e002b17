package gateway

import (
	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// appsExtension is MCP Apps (SEP-1865). The HTML of an app calls tools by its
// server's own names and lives on one connection to it, so apps work at the
// endpoint of one upstream; in the merged namespace only where the operator
// says so (apps: merged).
const appsExtension = "io.modelcontextprotocol/ui"

// appsFor is what the agent declared of MCP Apps, as far as u gets to know of
// it here; nil = nothing.
func (x *exchange) appsFor(u *catalogs.Upstream) []byte {
	if !x.relaysApps(u) {
		return nil
	}
	caps, err := wire.Fields(x.caps)
	if err != nil {
		return nil
	}
	return inside(inside(caps, "extensions"), appsExtension).Raw
}

func (x *exchange) relaysApps(u *catalogs.Upstream) bool {
	return x.endpoint != federation.Merged || u.MergedApps
}

// offeredApps is what the endpoint's upstreams declare of MCP Apps; nil = none
// does.
func (x *exchange) offeredApps() []byte {
	for _, u := range x.upstreams() {
		caps, err := wire.Fields(u.Capabilities)
		if err != nil || !x.relaysApps(u.Config) {
			continue
		}
		if apps := inside(inside(caps, "extensions"), appsExtension); apps.Raw != nil {
			return apps.Raw
		}
	}
	return nil
}

// relayedExtensions reduces the extensions that an agent declares to those
// that travel on in its own words; nil = none. Tasks are declared by the
// gateway, request by request.
func relayedExtensions(caps wire.Object) []byte {
	apps := inside(inside(caps, "extensions"), appsExtension)
	if apps.Raw == nil || len(apps.Raw) > extensionMax {
		return nil
	}
	return append(append([]byte(`{"`+appsExtension+`":`), wire.Compact(nil, apps.Raw)...), '}')
}

// extensionMax bounds the settings of one extension: they are remembered with
// the session, and part of what connections are shared by.
const extensionMax = 384
