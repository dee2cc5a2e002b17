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
// The end of a segment, and at least once a minute where the log stands, is
// signed: DIR/audit/segment-00000001.checkpoints holds the checkpoints (signed
// notes) over that segment, DIR/audit/public-key the keys they verify with. The
// private key is DIR/checkpoint.key.
//
// Retention removes whole segments, oldest first: a record says which, then a
// checkpoint over that record says where the log begins, then the files go.
//
// # What it proves
//
// Verify finds a record that was changed, removed, inserted or moved, an end
// that was cut off behind a checkpoint, and a beginning that retention did not
// remove. Who can write in DIR could remove the newest records together with
// their checkpoints, or sign all of it anew with DIR/checkpoint.key: that takes
// checkpoints that were copied elsewhere. A key of another's making is found by
// who has pinned the right one.
package audit
