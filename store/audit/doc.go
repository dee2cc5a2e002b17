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
// Verify finds a record that was changed, removed, inserted, moved, duplicated
// or brought from another log, an end that was cut off behind a checkpoint, and
// a beginning that retention did not remove. A key of another's making is found
// by who has pinned the right one.
//
// # What it does not prove
//
// Records newer than the last checkpoint, a minute's at most: who can write in
// the folder can change the last of them, cut some off, or write more. Nor,
// without checkpoints that were copied elsewhere, that the newest records were
// not removed together with their checkpoints, or an older state of the whole
// folder put back; the server then signs what it finds when it starts. Who has
// DIR/checkpoint.key can sign anything anew, and only older copies speak against
// it. Bytes behind the last line end are no record: a running server may be
// writing one. That a time is right, or that something was recorded at all, no
// chain can tell.
//
// Redaction knows secrets by pointers, names and forms. It misses what has
// neither: a password that is an argument of its own, the value of a pair that
// another member names, text that is encoded. The plain digests of arguments
// without a known secret, and of results, tell a short value to whoever tries
// all.
package audit
