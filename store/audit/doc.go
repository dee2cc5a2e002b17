// Package audit is the record of what was asked, decided and done: append-only
// segments of JSON lines, group-committed, each line holding the SHA-256 of the
// line before. Who writes a record waits until it is durable; nothing runs
// before. Reading, querying and verifying the log need no server.
//
// # Files
//
// Segments are DIR/audit/segment-00000001.jsonl and so on, where DIR is the
// data directory. The first line of a segment is its header (kind "segment"):
// its number, the first sequence number, the hash of the last line before it,
// which segment it continues and up to which byte, and the decisions that have
// no outcome yet. What a segment holds beyond the byte that its successor names
// is void: an I/O error left open whether it was written, and nobody was told
// that it was. DIR/audit/reserve holds space for revocations on a full disk.
//
// # What it proves
//
// Verify finds a record that was changed, removed, inserted or moved. It can't
// find that the last records, or the oldest segments, were cut off as a whole:
// that takes a copy of the newest hash kept elsewhere.
package audit
