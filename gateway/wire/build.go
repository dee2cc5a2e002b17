package wire

import "strconv"

// AppendRequest appends a JSON-RPC request. id and params are raw JSON; params
// may be nil.
func AppendRequest(dst, id []byte, method string, params []byte) []byte {
	dst = appendMethod(appendID(dst, id), method)
	return append(appendMember(dst, `,"params":`, params), '}')
}

// AppendNotification appends a JSON-RPC notification. params may be nil.
func AppendNotification(dst []byte, method string, params []byte) []byte {
	return AppendRequest(dst, nil, method, params)
}

// AppendResult appends a successful JSON-RPC response. A nil result is {}.
func AppendResult(dst, id, result []byte) []byte {
	if len(result) == 0 {
		result = []byte("{}")
	}
	return append(appendMember(appendID(dst, id), `,"result":`, result), '}')
}

// AppendError appends a JSON-RPC error response; e.Raw, where set, goes out as
// it is. Where no id is known, the member is left out (MCP 2026-07-28: an
// error response that has no id).
func AppendError(dst, id []byte, e *Error) []byte {
	dst = append(appendID(dst, id), `,"error":`...)
	if e.Raw != nil {
		return append(append(dst, e.Raw...), '}')
	}
	dst = strconv.AppendInt(append(dst, `{"code":`...), e.Code, 10)
	dst = AppendString(append(dst, `,"message":`...), e.Message)
	return append(appendMember(dst, `,"data":`, e.Data), "}}"...)
}

func appendID(dst, id []byte) []byte {
	return appendMember(append(dst, `{"jsonrpc":"2.0"`...), `,"id":`, id)
}

func appendMethod(dst []byte, method string) []byte {
	return AppendString(append(dst, `,"method":`...), method)
}

// appendMember appends one member, or nothing where there is no value.
func appendMember(dst []byte, key string, value []byte) []byte {
	if len(value) == 0 {
		return dst
	}
	return append(append(dst, key...), value...)
}
