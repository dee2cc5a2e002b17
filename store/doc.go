// Package store keeps what must survive: every value sealed under its key,
// every verb atomic, one contract suite that every backend passes (storetest).
// It hands its neighbours verbs and sealed tokens, never a transaction or a
// key.
//
// One data directory has one owner: ostiary.db is a bbolt file that is locked
// while a Store is open. Three rules follow from what bbolt does and doesn't
// promise:
//
//   - bbolt doesn't notice changed bytes, so every value is sealed with its
//     bucket and key as associated data, and Open reads everything once.
//   - bbolt may keep a transaction whose commit returned an error, so after
//     such an error nothing more is written until the store was opened anew.
//   - bbolt maps the file, and a short file kills the process, so Open walks
//     the file by hand before it lets bbolt have it.
//
// # People, clients and grants
//
// A verb that returned nil is durable. Records have an end and are gone from
// that moment on, whether or not the sweeper has met them. Every record that a
// verb returns is the caller's own copy. Codes and tokens are known by a hash:
// nothing in the files is a usable token.
//
// Tokens stand on a grant, a grant may stand on a consent, and who takes one
// away takes away all that stands on it, in the same transaction; a code that
// was not redeemed yet counts as its grant. What is revoked, spent or rotated
// stays as a tombstone until the grant's end, so that its return is noticed
// (RFC 6749 4.1.2 and 10.4, RFC 9700 2.1.1 and 4.14). A grant whose refresh
// token is exchanged every ten minutes for thirty days leaves 4,320 of them,
// about 2 MB.
//
// # The other files of the directory
//
// master.key seals the data keys; a backup does not contain it. Rotated keys
// go on opening what they sealed, and a record moves to the current key when
// it is next written: no rotation touches all records.
//
// epoch says how far the database had come. An older copy of ostiary.db is
// refused at the next start; Restore, which verifies a backup before it puts
// it in place, is the way to accept one. A directory that was put back whole,
// epoch included, is not noticed, nor is a copy made after the last
// revocation, start or minute.
//
// reserve is space that is given back on a full disk. Then verbs that take
// access away still commit, all others return ErrFull, and that ends by itself
// when there is space for the reserve again.
package store
