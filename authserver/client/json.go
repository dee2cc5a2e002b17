package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxDepth bounds the nesting of metadata; nothing we read is deeper than four.
const maxDepth = 16

// object is a JSON object whose members are read by their exact names:
// encoding/json alone takes Redirect_URIs for redirect_uris, and the last of
// two members of one name.
type object map[string]json.RawMessage

// parseObject reads data, which must be one JSON object in valid UTF-8 without
// duplicate names at any depth.
func parseObject(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := scan(dec, 0); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil || o == nil {
		return nil, errors.New("not a JSON object")
	}
	return o, nil
}

// scan walks one value.
func scan(dec *json.Decoder, depth int) error {
	token, err := dec.Token()
	if err != nil {
		return errors.New("no valid JSON")
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth++; depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	names := map[string]bool{}
	for dec.More() {
		if open == '{' {
			name, err := dec.Token()
			if err != nil {
				return errors.New("no valid JSON")
			}
			if s, ok := name.(string); !ok || names[s] {
				return fmt.Errorf("member %.64q stands there twice", name)
			} else {
				names[s] = true
			}
		}
		if err := scan(dec, depth); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return errors.New("no valid JSON")
	}
	return nil
}

// text is a string member of at most limit bytes; "" where it is absent or null.
func (o object) text(name string, limit int) (string, error) {
	var s *string
	if raw, ok := o[name]; ok {
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", fmt.Errorf("%s is not a string", name)
		}
	}
	if s == nil {
		return "", nil
	}
	if len(*s) > limit {
		return "", fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	return *s, nil
}

// texts is a member that lists at most limit strings; nil where it is absent or
// null.
func (o object) texts(name string, limit int) ([]string, error) {
	var list []*string
	if raw, ok := o[name]; ok {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("%s is not a list of strings", name)
		}
	}
	if list == nil {
		return nil, nil
	}
	if len(list) > limit {
		return nil, fmt.Errorf("%s has more than %d entries", name, limit)
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			return nil, fmt.Errorf("%s is not a list of strings", name)
		}
		out[i] = *s
	}
	return out, nil
}
